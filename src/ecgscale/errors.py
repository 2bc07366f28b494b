"""What ends a command early: the input is at fault, or a stage of the study failed."""


class BadInputError(Exception):
    """Input that cannot be used; the message is one sentence naming the file, key or record.

    The command line prints the message alone and exits with status 2; any other exception is a
    failure of the program and exits with status 1.
    """


class StageFailedError(Exception):
    """A stage of the study failed; the message ends with the last lines it printed."""
