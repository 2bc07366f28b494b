"""Where the trials of searches are kept: a file of the project, or a database that many share."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from ecgscale.errors import BadInputError
from ecgscale.files import is_full
from ecgscale.runs.address import driver_trouble, redacted

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

VARIABLE = "OPTUNA_STORAGE"
"""As Optuna's own commands read it."""
FILE = "optuna.db"
HEARTBEAT, GRACE = 30, 120
"""Seconds between two signs of life of a trial, and after which one that gives none is lost."""
RETRIES = 2
"""How often a trial that was killed is begun again."""
BUSY = 120
"""Seconds that a writer waits for other writers of a SQLite file."""


def storage_url(root: Path) -> str:
    """Return the storage: ``OPTUNA_STORAGE``, else ``optuna.db`` in the project."""
    return os.environ.get(VARIABLE) or f"sqlite:///{root.resolve() / FILE}"


def is_shared(root: Path) -> bool:
    """Return whether processes of other projects and machines may run trials in it."""
    return bool(os.environ.get(VARIABLE))


def open_study(root: Path, name: str, pruner: "optuna.pruners.BasePruner") -> "optuna.Study":
    """Open the Optuna study of a search, made if it does not exist.

    Trials show signs of life; one that stops doing so is begun again by whoever looks next.

    Raises
    ------
    BadInputError
        If the storage cannot be used.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    url = storage_url(root)
    waiting = {"connect_args": {"timeout": BUSY}} if url.startswith("sqlite") else {}
    # The first use makes the tables, which two processes cannot do at once.
    with usable(root), FileLock(root / ".ecgscale" / "optuna.lock"):
        storage = optuna.storages.RDBStorage(
            url,
            engine_kwargs={"pool_pre_ping": True, **waiting},
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=retry,
        )
        return optuna.create_study(
            study_name=name,
            storage=storage,
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )


def retry(study: "optuna.Study", trial: "FrozenTrial", most: int | None = RETRIES) -> None:
    """Put the values of a trial that was killed back into the queue, so often at most."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback

    again = deepcopy(trial)  # Optuna adds to lists of the one it is given
    again.user_attrs = {}  # what was said of the one that was killed
    RetryHeartbeatStaleTrialCallback(most)(study, again)


@contextmanager
def usable(root: Path) -> Iterator[None]:
    """Turn trouble with the storage into one sentence.

    Raises
    ------
    BadInputError
        If the block ends by an error of the database or of its driver.
    """
    said = f"the trials' storage {redacted(storage_url(root))} cannot be used: "
    try:
        yield
    except ImportError as error:
        raise BadInputError(said + driver_trouble(error)) from error
    except Exception as error:
        if is_full(error) or not is_trouble(error):
            raise
        cause = error.__cause__ or error
        raise BadInputError(said + redacted(str(cause).strip().splitlines()[0])) from error


def is_trouble(error: BaseException) -> bool:
    """Return whether an error is the storage's."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, (StorageInternalError, SQLAlchemyError))
