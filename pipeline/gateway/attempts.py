"""Memory of bodies that Kafka did not acknowledge, so that a retry gets the same message ids.

The messages that Kafka did acknowledge in the first attempt then count once. Only this process
remembers, and only for a while: an equal body that comes later is about other events. Where another
gateway gets the retry, or the sender changes the body (a new `sentAt`), messages count once only
with ids of the sender's own.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from uuid import UUID

from pipeline.intake.message_ids import MessageIds

_MOST: Final = 10_000
_KEPT_S: Final = 300.0
"""Retries of common HTTP clients come sooner than this."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Failed attempt; `at_s`: when it failed, by the clock of `Attempts`."""

    seed: UUID
    at_s: float


class Attempts:
    """Seeds of message ids, by the body that Kafka did not acknowledge.

    `clock` returns seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._failed: dict[bytes, _Attempt] = {}
        self._clock = clock

    def ids(self, source: str, body: bytes) -> MessageIds:
        """Return the ids of an attempt that failed in the last five minutes, or new ids."""
        known = self._failed.get(_digest(source, body)) if self._failed else None
        if known is None or self._clock() - known.at_s > _KEPT_S:
            return MessageIds()
        return MessageIds(known.seed)

    def remember(self, source: str, body: bytes, ids: MessageIds) -> None:
        """Keep the ids for a retry; beyond a limit the oldest are forgotten."""
        self._failed[_digest(source, body)] = _Attempt(ids.seed, self._clock())
        if len(self._failed) > _MOST:
            del self._failed[next(iter(self._failed))]

    def forget(self, source: str, body: bytes) -> None:
        """Forget an acknowledged body: an equal one that comes later is about other events."""
        if self._failed:
            self._failed.pop(_digest(source, body), None)


def _digest(source: str, body: bytes) -> bytes:
    return sha256(source.encode() + b"\0" + body).digest()
