"""A throwaway PostgreSQL cluster of the distribution's packages, on the loopback address."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

USER = "ecg"


class Cluster:
    """A running cluster; its one user needs a password.

    Attributes
    ----------
    password
        Made up for this cluster.
    """

    def __init__(self, port, password):
        self.port, self.password = port, password

    def address(self, database):
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def create(self, database):
        """Make a database; give its address."""
        import psycopg

        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}")
        return self.address(database)


@contextmanager
def cluster():
    """Start a cluster in a folder of its own under the system's temporary folder; remove it after.

    PostgreSQL refuses to run as root: root has it run as the user that Debian's package made.
    """
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="ecgscale-postgres-"))
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    password = secrets.token_hex(8)
    (folder / "password").write_text(password)
    if as_user:
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres")

    def call(program, *arguments):
        command = [*as_user, str(binaries / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    try:
        made = ("-U", USER, "-A", "scram-sha-256", f"--pwfile={folder / 'password'}", "-E", "UTF8")
        call("initdb", *made, "--locale=C", "--no-sync")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -k {folder}"
        call("pg_ctl", "start", "-w", "-l", str(folder / "log"), "-o", settings)
        try:
            yield Cluster(port, password)
        finally:
            call("pg_ctl", "stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries():
    """Return the folder of the newest installed server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    assert found, "no PostgreSQL on this machine (Debian: apt-get install postgresql)"
    return found[-1].parent


def _version(path):
    return int(path.parts[-3])
