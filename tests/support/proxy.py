"""A tracking server that is up, slow, failing or gone, as asked; what lies behind it is real."""

import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Proxy:
    """Stands on a port of its own before a server.

    Attributes
    ----------
    mode
        "up", "slow" (`delay` seconds an answer), "failing" (every answer is 500) or "down" (the
        port is closed).
    """

    def __init__(self, behind=None, delay=3.0):
        self.behind, self.delay, self.mode = behind, delay, "up"
        self.authorizations = set()
        self._server = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def address(self, credentials=""):
        return f"http://{credentials}127.0.0.1:{self.port}"

    def set(self, mode):
        """Be in another state from now on."""
        self.mode = mode
        if mode == "down":
            self.close()
        elif self._server is None:
            self._server = _Server(("127.0.0.1", self.port), _handler(self))
            threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


def _handler(proxy):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def answer(self):
            proxy.authorizations.add(self.headers.get("Authorization"))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if proxy.mode == "slow":
                time.sleep(proxy.delay)
            if proxy.mode == "failing" or proxy.behind is None:
                self.reply(500, b"{}")
                return
            kept = {name: self.headers[name] for name in ("Content-Type",) if name in self.headers}
            request = urllib.request.Request(
                proxy.behind + self.path, body or None, kept, method=self.command
            )
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    self.reply(answer.status, answer.read())
            except urllib.error.HTTPError as error:
                self.reply(error.code, error.read())

        def reply(self, status, body):
            with suppress(ConnectionError):  # who asked has not waited
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    for verb in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{verb}", Handler.answer)
    return Handler
