"""Memory of bodies that Kafka did not acknowledge, so that a retry gets the same message ids.

The messages that Kafka did acknowledge in the first attempt then count once. Only this process
remembers: where another gateway gets the retry, or the sender changes the body (a new `sentAt`),
messages count once only with ids of the sender's own.
"""

from hashlib import sha256
from typing import Final
from uuid import UUID

from pipeline.intake.message_ids import MessageIds

_MOST: Final = 10_000


class Attempts:
    """Seeds of message ids, by the body that Kafka did not acknowledge."""

    def __init__(self) -> None:
        self._seeds: dict[bytes, UUID] = {}

    def ids(self, source: str, body: bytes) -> MessageIds:
        """Return the ids of the earlier attempt if there was one, or new ids."""
        known = self._seeds.get(_digest(source, body)) if self._seeds else None
        return MessageIds() if known is None else MessageIds(known)

    def remember(self, source: str, body: bytes, ids: MessageIds) -> None:
        """Keep the ids for a retry; beyond a limit the oldest are forgotten."""
        self._seeds[_digest(source, body)] = ids.seed
        if len(self._seeds) > _MOST:
            del self._seeds[next(iter(self._seeds))]

    def forget(self, source: str, body: bytes) -> None:
        """Forget an acknowledged body: an equal one that comes later is about other events."""
        if self._seeds:
            self._seeds.pop(_digest(source, body), None)


def _digest(source: str, body: bytes) -> bytes:
    return sha256(source.encode() + b"\0" + body).digest()
