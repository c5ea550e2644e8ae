"""`traceparent` of W3C Trace Context: a trace goes on through Kafka, HTTP and back.

Every hop passes the trace's id and flags on, under an id of its own. `tracestate` is dropped, which
the standard allows. https://www.w3.org/TR/trace-context-2/
"""

import re
from dataclasses import dataclass
from random import Random
from typing import Final

HEADER: Final = "traceparent"

_FORM: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_OURS: Final = b"00"
_NEVER: Final = b"ff"
_SAMPLED: Final = 0x01
_KNOWN_FLAGS: Final = 0x03
"""Sampled, and random; others must not be passed on by who does not know them."""

_ids: Final = Random()
"""Ids need not be secret; the system's own source of randomness costs a call of it."""


@dataclass(frozen=True, slots=True)
class Trace:
    """`id`: 32 hexadecimal digits."""

    id: bytes
    flags: int

    def hop(self) -> bytes:
        """The header for what one hop sends, with an id of that hop."""
        return b"00-%b-%016x-%02x" % (self.id, _ids.getrandbits(64) or 1, self.flags)


def begin() -> Trace:
    """A new trace."""
    return Trace(b"%032x" % (_ids.getrandbits(128) or 1), _SAMPLED)


def going_on(header: str | bytes | None) -> Trace:
    """The trace that the header names; a new one without a header, or with one that is malformed.

    Of versions after 00 the first four fields are read.
    """
    given = header.encode(errors="replace") if isinstance(header, str) else header
    fields = None if given is None else _FORM.fullmatch(given)
    if fields is None:
        return begin()
    version, trace, parent, flags, more = fields.groups()
    malformed = version == _NEVER or (version == _OURS and more is not None)
    if malformed or not trace.strip(b"0") or not parent.strip(b"0"):
        return begin()
    return Trace(trace, int(flags, 16) & _KNOWN_FLAGS)
