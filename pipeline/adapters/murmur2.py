"""Partitioner of Java's client and of librdkafka's `murmur2_random`."""

_MASK = 0xFFFFFFFF
_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_SHIFT = 24


def murmur2_partition(key: bytes, partition_count: int) -> int:
    """Return the partition of `key`, 0-based."""
    return (_murmur2(key) & 0x7FFFFFFF) % partition_count


def _murmur2(data: bytes) -> int:
    value = (_SEED ^ len(data)) & _MASK
    tail_start = len(data) // 4 * 4
    for start in range(0, tail_start, 4):
        chunk = int.from_bytes(data[start : start + 4], "little") * _MULTIPLIER & _MASK
        chunk = (chunk ^ chunk >> _SHIFT) * _MULTIPLIER & _MASK
        value = (value * _MULTIPLIER & _MASK) ^ chunk
    if tail := data[tail_start:]:
        value = (value ^ int.from_bytes(tail, "little")) * _MULTIPLIER & _MASK
    value = (value ^ value >> 13) * _MULTIPLIER & _MASK
    return value ^ value >> 15
