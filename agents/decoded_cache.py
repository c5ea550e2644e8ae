"""Cache of decoded records for stages that share a process.

Records still go through Kafka; the next stage looks up the decoded record by its bytes, which it
decodes after a restart or in another process.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from pipeline.adapters.avro import Codec, Malformed

_KEPT: Final = 4_096
KEPT_BYTES: Final = 32 << 20
"""Maximum of encoded bytes of the cached records; the oldest are evicted."""


class DecodedCache:
    """Codec that caches the records that it encoded for the topics `read` until they are
    decoded."""

    def __init__(self, codec: Codec, read: Iterable[str]) -> None:
        self._codec = codec
        self._read = frozenset(read)
        self._cached: OrderedDict[tuple[str, bytes], Struct] = OrderedDict()
        self.kept_bytes = 0

    def encode(self, topic: str, value: Struct | None) -> bytes | None:
        """Encode as `Codec.encode` does, and cache the record."""
        return self._remember(topic, value, self._codec.encode(topic, value))

    def extend(self, topic: str, value: Struct, before: Struct, data: bytes) -> bytes | None:
        """Encode as `Codec.extend` does, and cache the record."""
        return self._remember(topic, value, self._codec.extend(topic, value, before, data))

    def decode(self, topic: str, data: bytes) -> Struct | Malformed:
        """Take the record from the cache, or decode as `Codec.decode` does."""
        known = self._cached.pop((topic, data), None)
        if known is None:
            return self._codec.decode(topic, data)
        self.kept_bytes -= len(data)
        return known

    def _remember(self, topic: str, value: Struct | None, data: bytes | None) -> bytes | None:
        if topic in self._read and value is not None and data is not None:
            known = self._cached
            before = len(known)
            known[topic, data] = value
            if len(known) > before:
                self.kept_bytes += len(data)
            while len(known) > _KEPT or self.kept_bytes > KEPT_BYTES:
                (_, oldest), _ = known.popitem(last=False)
                self.kept_bytes -= len(oldest)
        return data
