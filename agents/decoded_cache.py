"""Cache of decoded records for stages that share a process.

Records still go through Kafka; the next stage looks the decoded record up by its bytes. It decodes
these bytes after a restart, and where the stages are in separate processes.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from pipeline.adapters.avro import Codec, MalformedRecord

_MAX_RECORDS: Final = 4_096
MAX_BYTES: Final = 32 << 20
"""Maximum encoded size of all cached records; the oldest are evicted."""


class DecodedCache:
    """Codec that caches the records that it encodes for `topics` until they are decoded."""

    def __init__(self, codec: Codec, topics: Iterable[str]) -> None:
        self._codec = codec
        self._topics = frozenset(topics)
        self._records: OrderedDict[tuple[str, bytes], Struct] = OrderedDict()
        self.cached_bytes = 0

    def encode(self, topic: str, value: Struct | None) -> bytes | None:
        """Encode as `Codec.encode` does, and cache the record."""
        return self._cache(topic, value, self._codec.encode(topic, value))

    def extend(self, topic: str, value: Struct, base: Struct, data: bytes) -> bytes | None:
        """Encode as `Codec.extend` does, and cache the record."""
        return self._cache(topic, value, self._codec.extend(topic, value, base, data))

    def decode(self, topic: str, data: bytes) -> Struct | MalformedRecord:
        """Remove the record from the cache and return it, or decode as `Codec.decode` does."""
        record = self._records.pop((topic, data), None)
        if record is None:
            return self._codec.decode(topic, data)
        self.cached_bytes -= len(data)
        return record

    def _cache(self, topic: str, value: Struct | None, data: bytes | None) -> bytes | None:
        if topic in self._topics and value is not None and data is not None:
            records = self._records
            former_count = len(records)
            records[topic, data] = value
            if len(records) > former_count:
                self.cached_bytes += len(data)
            while len(records) > _MAX_RECORDS or self.cached_bytes > MAX_BYTES:
                (_, old_data), _ = records.popitem(last=False)
                self.cached_bytes -= len(old_data)
        return data
