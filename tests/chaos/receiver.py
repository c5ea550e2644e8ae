"""Receiver of messages that honours the idempotency key."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from tests.support.receiver import NO_ANSWER, NO_CONTENT, PlannedAnswer, Post, Receiver

_LOST_ANSWER_INTERVAL = 3


class IdempotentReceiver(Receiver):
    """Receiver whose customers get one message per key. `post_counts`: number of posts by key;
    `altered_keys`: keys that were posted again with another message."""

    def __init__(self) -> None:
        super().__init__()
        self.post_counts: Counter[str] = Counter()
        self.altered_keys: set[str] = set()
        self._digests: dict[str, bytes] = {}
        self._is_losing_answers = False

    @property
    def delivered_keys(self) -> set[str]:
        """Keys of the messages that reached their customer."""
        with self._lock:
            return set(self.post_counts)

    @property
    def repeat_count(self) -> int:
        """Number of posts of keys that had been posted before."""
        with self._lock:
            return self.post_counts.total() - len(self.post_counts)

    @contextmanager
    def losing_answers(self) -> Iterator[None]:
        """Take one in three posts without an answer during the block."""
        self._is_losing_answers = True
        try:
            yield
        finally:
            self._is_losing_answers = False

    def receive(self, post: Post) -> PlannedAnswer:
        digest = sha256(post.body).digest()
        with self._lock:
            self.post_counts[post.key] += 1
            if self._digests.setdefault(post.key, digest) != digest:
                self.altered_keys.add(post.key)
            loses_answer = (
                self._is_losing_answers and self.post_counts.total() % _LOST_ANSWER_INTERVAL == 0
            )
        return NO_ANSWER if loses_answer else NO_CONTENT
