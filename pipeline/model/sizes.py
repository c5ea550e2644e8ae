"""How large records may be, in bytes of key, value and headers: each limit leaves room for what is
made of what keeps to it, since a record that cannot be written would stop a stage for ever."""

from typing import Final

INPUT: Final = 2 << 20
"""The largest interaction that is taken from outside; a larger one is a dead letter."""

KEY: Final = 16 << 10
"""The longest key of one; a longer one is a dead letter."""

POSTED: Final = INPUT * 3 // 8
"""The largest message that a gateway may be set to take: with as much again that its batch gives
it, and the names of nested properties written in full, it makes an interaction of `INPUT`."""

RECORD: Final = 8_000_000
"""The largest record that a client writes."""

TOPIC: Final = 8 << 20
"""`max.message.bytes` of topics: a record with what a batch adds to it."""
