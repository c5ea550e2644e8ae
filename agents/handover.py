"""What one stage of a process wrote and the next one reads: decoded already.

The bytes go through Kafka all the same, and what they stand for is known by them; whoever does not
find it here (after a restart, in another process) reads the bytes.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from pipeline.adapters.avro import Codec, Malformed

_KEPT: Final = 4_096
"""Records on their way at most; the oldest are let go of."""


class Handover:
    """A codec that remembers the records it wrote to the topics `read` until they are read."""

    def __init__(self, codec: Codec, read: Iterable[str]) -> None:
        self._codec = codec
        self._read = frozenset(read)
        self._under_way: OrderedDict[tuple[str, bytes], Struct] = OrderedDict()

    def encode(self, topic: str, value: Struct | None) -> bytes | None:
        """As `Codec.encode`."""
        return self._remember(topic, value, self._codec.encode(topic, value))

    def extend(self, topic: str, value: Struct, before: Struct, data: bytes) -> bytes | None:
        """As `Codec.extend`."""
        return self._remember(topic, value, self._codec.extend(topic, value, before, data))

    def decode(self, topic: str, data: bytes) -> Struct | Malformed:
        """As `Codec.decode`."""
        known = self._under_way.pop((topic, data), None)
        return self._codec.decode(topic, data) if known is None else known

    def _remember(self, topic: str, value: Struct | None, data: bytes | None) -> bytes | None:
        if topic in self._read and value is not None and data is not None:
            self._under_way[topic, data] = value
            if len(self._under_way) > _KEPT:
                self._under_way.popitem(last=False)
        return data
