"""`traceparent` of W3C Trace Context, which continues a trace through Kafka and HTTP.

Every hop passes on the trace's id and flags, with its own span id. `tracestate` is dropped, which
the standard allows. https://www.w3.org/TR/trace-context-2/
"""

import re
from dataclasses import dataclass
from random import Random
from typing import Final

HEADER: Final = "traceparent"

_FORM: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_VERSION: Final = b"00"
_INVALID_VERSION: Final = b"ff"
_SAMPLED_FLAG: Final = 0x01
_KNOWN_FLAGS: Final = 0x03
"""Flags for sampled and random; unknown flags must not be passed on."""

_ids: Final = Random()
"""Ids need not be secret, and the system's source of randomness costs a system call."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Trace of one request; `id`: 32 hexadecimal digits."""

    id: bytes
    flags: int

    def hop_header(self) -> bytes:
        """Return the header of the next hop, with a new span id."""
        return b"00-%b-%016x-%02x" % (self.id, _ids.getrandbits(64) or 1, self.flags)


def new_trace() -> Trace:
    """Return a new trace."""
    return Trace(b"%032x" % (_ids.getrandbits(128) or 1), _SAMPLED_FLAG)


def continue_trace(header: str | bytes | None) -> Trace:
    """Return the trace that the header names; a new one if it is missing or malformed.

    The first four fields are read, also of a version after 00, which may have more.
    """
    data = header.encode(errors="replace") if isinstance(header, str) else header
    fields = None if data is None else _FORM.fullmatch(data)
    if fields is None:
        return new_trace()
    version, trace, parent, flags, rest = fields.groups()
    is_malformed = version == _INVALID_VERSION or (version == _VERSION and rest is not None)
    if is_malformed or not trace.strip(b"0") or not parent.strip(b"0"):
        return new_trace()
    return Trace(trace, int(flags, 16) & _KNOWN_FLAGS)
