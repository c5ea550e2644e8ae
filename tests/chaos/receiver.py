"""Where the e-mails go: a receiver that honours the idempotency key, and keeps nothing else."""

from collections import Counter

from tests.support.receiver import TAKEN, Answer, Post, Receiver


class Inbox(Receiver):
    """`requests` counts what was posted by key; a customer gets one message per key."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: Counter[str] = Counter()

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

    def take(self, post: Post) -> Answer:
        with self._lock:
            self.requests[post.key] += 1
        return TAKEN
