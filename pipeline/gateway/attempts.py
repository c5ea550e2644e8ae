"""Cache of the message ids of unacknowledged bodies, so that a retry gets the same ids.

Messages that Kafka acknowledged in the first attempt then count once. Each process has its own
cache, which is short-lived because a later equal body is about other events. If another gateway
gets the retry, or if the sender changes the body (a new `sentAt`), messages count once only with
the sender's own ids.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from uuid import UUID

from pipeline.adapters import bounded
from pipeline.intake.message_ids import MessageIds

_MAX_ATTEMPTS: Final = 10_000
_RETENTION_S: Final = 300.0
"""Longer than the interval of common HTTP clients' retries."""


@dataclass(frozen=True, slots=True)
class _FailedAttempt:
    """Failed attempt; `at_s`: time of the failure, by the clock of `Attempts`."""

    seed: UUID
    at_s: float


class Attempts:
    """Seeds of message ids, by unacknowledged body.

    `clock` returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._attempts: dict[bytes, _FailedAttempt] = {}
        self._clock = clock

    def ids(self, source: str, body: bytes) -> MessageIds:
        """Return the ids of an attempt that failed in the last five minutes, or new ids."""
        attempt = self._attempts.get(_digest(source, body)) if self._attempts else None
        if attempt is None or self._clock() - attempt.at_s > _RETENTION_S:
            return MessageIds()
        return MessageIds(attempt.seed)

    def add(self, source: str, body: bytes, ids: MessageIds) -> None:
        """Keep the ids for a retry; above a limit the oldest are dropped."""
        attempt = _FailedAttempt(ids.seed, self._clock())
        bounded.put(self._attempts, _digest(source, body), attempt, _MAX_ATTEMPTS)

    def remove(self, source: str, body: bytes) -> None:
        """Drop an acknowledged body, since a later equal one is about other events."""
        if self._attempts:
            self._attempts.pop(_digest(source, body), None)


def _digest(source: str, body: bytes) -> bytes:
    return sha256(source.encode() + b"\0" + body).digest()
