"""Where the e-mails go: a real HTTP server that honours the idempotency key."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread


class Receiver:
    """`requests` counts what was posted by key; a customer gets one message per key."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self._lock = Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                receiver.take(self.headers["Idempotency-Key"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/email"

    @property
    def delivered(self) -> set[str]:
        """Keys of the messages that reached their customer."""
        with self._lock:
            return set(self.requests)

    @property
    def repeated(self) -> int:
        """Posts of a key that had been posted before."""
        with self._lock:
            return self.requests.total() - len(self.requests)

    def take(self, key: str) -> None:
        with self._lock:
            self.requests[key] += 1

    @contextmanager
    def listening(self) -> Iterator["Receiver"]:
        Thread(target=self._server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
