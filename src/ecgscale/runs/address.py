"""Where the tracking store is and whether it answers; what must not be read is taken out here.

The one home of credentials: they leave the address for the environment variables that MLflow and
the database's client read themselves, so that nothing which names the store can hold them.
"""

import base64
import logging
import os
import re
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

VARIABLE = "MLFLOW_TRACKING_URI"
USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
SECRETS = (PASSWORD, "MLFLOW_TRACKING_TOKEN", "PGPASSWORD")
"""Environment variables whose values are never shown."""
PATIENCE = 2.0
"""Seconds in which a store that is there answers one question."""

_PROBE = "api/2.0/mlflow/experiments/get-by-name?experiment_name=ecgscale-pretrain"
_PORTS = {"postgresql": 5432, "postgres": 5432, "mysql": 3306, "mssql": 1433}
_USERINFO = re.compile(r"(?<=://)[^/\s'\"]*@")
_ARGUMENT = re.compile(r"(?i)([?&](?:password|passwd|token|access_token|secret)=)[^&\s'\"]*")


def tracking_uri(root: Path) -> str:
    """Return the store: ``MLFLOW_TRACKING_URI``, else ``mlflow.db`` in the project.

    The default is absolute, since MLflow resolves a relative one against the working directory.
    Credentials in the variable are moved to the variables made for them, for this process and those
    that it starts. (No such variable exists for databases other than PostgreSQL; `redacted` hides
    theirs.)
    """
    uri = os.environ.get(VARIABLE)
    if not uri:
        return f"sqlite:///{root.resolve() / 'mlflow.db'}"
    parts = urlsplit(uri)
    if parts.password is None and not (is_server(uri) and parts.username):
        return uri
    host = parts.netloc.rpartition("@")[2]
    if is_server(uri):
        os.environ[USER] = unquote(parts.username or "")
        os.environ[PASSWORD] = unquote(parts.password or "")
    elif parts.scheme.startswith("postgres"):
        os.environ["PGPASSWORD"] = unquote(parts.password or "")
        host = f"{parts.username}@{host}" if parts.username else host
    else:
        return uri
    os.environ[VARIABLE] = parts._replace(netloc=host).geturl()
    return os.environ[VARIABLE]


def is_server(uri: str) -> bool:
    """Return whether a store is asked over HTTP."""
    return uri.startswith(("http://", "https://"))


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for any other."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def redacted(text: str) -> str:
    """Return a text without user names and passwords of addresses, and without known secrets.

    Examples
    --------
    >>> redacted("cannot reach http://ann:s3cret@host:5000/api?token=abc")
    'cannot reach http://host:5000/api?token=***'
    """
    text = _ARGUMENT.sub(r"\1***", _USERINFO.sub("", text))
    for name in SECRETS:
        secret = os.environ.get(name, "")
        if len(secret) > 3:  # a shorter one would be found in words
            text = text.replace(secret, "***")
    return text


class Redacting(logging.Filter):
    """Takes credentials out of every message of the handler that it is added to."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the message; let every record pass."""
        record.msg, record.args = redacted(record.getMessage()), ()
        return True


def trouble(root: Path) -> str | None:
    """Return why the store cannot be used now, as the end of a sentence; None if it answers.

    Costs no import of MLflow. Of a server, it is asked whether it answers in time and without an
    error of its own; of a database server, whether it is there, as MLflow asks for minutes; of a
    SQLite file, whether it is one and can be written to.
    """
    uri = tracking_uri(root)
    if is_server(uri):
        return _server_trouble(uri)
    parts = urlsplit(uri)
    port = _PORTS.get(parts.scheme.partition("+")[0])
    if port and parts.hostname:
        return _port_trouble(parts.hostname, parts.port or port)
    path = sqlite_file(uri)
    if path is None or not path.is_file() or not path.stat().st_size:
        return None
    try:
        with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.rollback()
    except sqlite3.Error as error:
        return store_trouble(str(error))
    return None


def store_trouble(said: str) -> str:
    """Return what a database's error message means, and what to do."""
    if "locked" in said or "busy" in said:
        return f"is held by another program ({said}): end it, or wait"
    if any(word in said for word in ("not a database", "malformed", "corrupt", "disk image")):
        return (
            f"is damaged ({said}): move it away, then `python -m ecgscale sync` writes a new one "
            "from results/"
        )
    return f"cannot be used: {redacted(said)}"


def _port_trouble(host: str, port: int) -> str | None:
    try:
        with socket.create_connection((host, port), timeout=PATIENCE):
            return None
    except OSError as error:
        return f"cannot be reached: {error}"


def _server_trouble(uri: str) -> str | None:
    request = Request(f"{uri.rstrip('/')}/{_PROBE}")
    if os.environ.get(USER):
        pair = f"{os.environ[USER]}:{os.environ.get(PASSWORD, '')}"
        request.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    try:
        with urlopen(request, timeout=PATIENCE):
            return None
    except HTTPError as error:
        # A refusal is an answer, which MLflow puts better.
        return f"answers {error.code} {error.reason}" if error.code >= 500 else None
    except TimeoutError:
        return f"does not answer within {PATIENCE:g} seconds"
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        if "CERTIFICATE" in str(reason):
            return None  # MLflow has settings of its own for certificates
        if isinstance(reason, TimeoutError):
            return f"does not answer within {PATIENCE:g} seconds"
        return f"cannot be reached: {reason}"


def driver_trouble(error: ImportError) -> str:
    """Return what an address needs whose database has no driver here, naming the extra.

    Examples
    --------
    >>> driver_trouble(ModuleNotFoundError("No module named 'psycopg'", name="psycopg"))
    "it needs the driver psycopg: pip install 'ecgscale[postgres]'"
    """
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, ImportError) and cause.name):
        cause = cause.__cause__ or cause.__context__
    name = cause.name or "" if isinstance(cause, ImportError) else ""
    hint = "pip install 'ecgscale[postgres]'"
    if name == "psycopg":
        return f"it needs the driver psycopg: {hint}"
    if name.startswith(("psycopg", "pg8000", "asyncpg")):
        return f"it needs the driver {name}; postgresql+psycopg:// takes the one of {hint}"
    return f"{error}"
