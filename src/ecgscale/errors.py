"""The one exception that means "the input is at fault, not the program"."""


class BadInputError(Exception):
    """Input that cannot be used; the message is one sentence naming the file, key or record.

    The command line prints the message alone and exits with status 2; any other exception is a
    failure of the program and exits with status 1.
    """
