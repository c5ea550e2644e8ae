"""Limits of records, in bytes of key, value and headers.

Each limit leaves room for the records derived from an input within the previous one, because a
record that cannot be written would stop a stage for ever.
"""

from typing import Final

INPUT: Final = 2 << 20
"""Largest interaction from outside; a larger one is a dead letter."""

KEY: Final = 16 << 10
"""Longest key of an interaction; a longer one is a dead letter."""

MESSAGE: Final = INPUT * 3 // 8
"""Upper limit of the setting for the largest message that a gateway accepts.

With as much again from its batch, and the names of nested properties in full, it becomes an
interaction of `INPUT`.
"""

RECORD: Final = 8_000_000
"""Largest record that a client writes."""

TOPIC: Final = 8 << 20
"""`max.message.bytes` of topics: a record, and the overhead of its batch."""
