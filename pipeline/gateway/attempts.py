"""Ids of messages that came without one, the same when a body that was not taken is sent again.

What Kafka acknowledged of the first attempt then counts once. This process remembers; another
gateway, or a sender that changes the body (a new `sentAt`), needs ids of the sender's own.
"""

from hashlib import sha256
from typing import Final
from uuid import UUID

from pipeline.intake.message_ids import MessageIds

_MOST: Final = 10_000


class Attempts:
    """The seeds of ids by body, of those that Kafka did not take."""

    def __init__(self) -> None:
        self._seeds: dict[bytes, UUID] = {}

    def ids(self, source: str, body: bytes) -> MessageIds:
        """Those of the earlier attempt, if there was one."""
        known = self._seeds.get(_digest(source, body)) if self._seeds else None
        return MessageIds() if known is None else MessageIds(known)

    def remember(self, source: str, body: bytes, ids: MessageIds) -> None:
        """The sender may try again; of very many bodies the oldest is forgotten."""
        self._seeds[_digest(source, body)] = ids.seed
        if len(self._seeds) > _MOST:
            del self._seeds[next(iter(self._seeds))]

    def forget(self, source: str, body: bytes) -> None:
        """An equal body that comes later tells of something else."""
        if self._seeds:
            self._seeds.pop(_digest(source, body), None)


def _digest(source: str, body: bytes) -> bytes:
    return sha256(source.encode() + b"\0" + body).digest()
