"""A server on the loopback address that speaks S3, with nothing behind it but memory."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

from support.server import wait_for


@contextmanager
def s3_server(bucket):
    """Serve an empty bucket; give the server's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env=os.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/moto-api/")
        urllib.request.urlopen(urllib.request.Request(f"{address}/{bucket}", method="PUT"))
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
