"""Receiver of webhooks: a real HTTP server that records posts and gives planned answers."""

from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from time import monotonic
from typing import Any, Self

import msgspec


@dataclass(frozen=True)
class Post:
    """Post to the receiver; `at`: seconds, to measure the time between two; header names are in
    lower case."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]

    @property
    def action(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass(frozen=True)
class PlannedAnswer:
    """Answer of the receiver to one post."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


NO_CONTENT = PlannedAnswer(204)
NO_ANSWER = PlannedAnswer(0)
"""No answer: the connection is closed."""


class Receiver:
    """Server that answers 204, unless other answers are prepared for the address of an action."""

    def __init__(self) -> None:
        self._posts: list[Post] = []
        self._answers: defaultdict[str, deque[PlannedAnswer]] = defaultdict(deque)
        self._lock = Lock()
        receiver = self

        class WebhookHandler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = receiver.receive(Post(self.path, headers, body, monotonic()))
                if answer is NO_ANSWER:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *arguments: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), WebhookHandler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def prepare(self, address: str, *answers: PlannedAnswer) -> None:
        """Prepare answers to the next posts of actions for `address`, one after the other."""
        with self._lock:
            self._answers[address].extend(answers)

    def accept_all(self, address: str) -> None:
        """Answer 204 from now on, and drop the prepared answers."""
        with self._lock:
            self._answers[address].clear()

    def posts(self, address: str) -> list[Post]:
        """Return the posts of actions for `address`, in the order in which they came."""
        with self._lock:
            return [post for post in self._posts if post.action["address"] == address]

    def receive(self, post: Post) -> PlannedAnswer:
        with self._lock:
            self._posts.append(post)
            answers = self._answers[post.action["address"]]
            return answers.popleft() if answers else NO_CONTENT

    @contextmanager
    def listening(self) -> Iterator[Self]:
        Thread(target=self._server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
