"""Record headers: `traceparent` (W3C), `kairos-cause`, and `kairos-timing`.

`kairos-timing` is `stage=queued/spent` for each stage so far, milliseconds with 3 decimals,
separated by commas: how long the record waited for the stage, and how long the stage took.
"""

import secrets
from collections.abc import Sequence
from typing import Final, TypeAlias

from agents.delivery import Cause

Headers: TypeAlias = Sequence[tuple[str, bytes]]

TRACEPARENT: Final = "traceparent"
CAUSE: Final = "kairos-cause"
TIMING: Final = "kairos-timing"


def find(headers: Headers, name: str) -> bytes | None:
    """The first header of this name."""
    for key, value in headers:
        if key == name:
            return value
    return None


def onward_trace(headers: Headers) -> bytes:
    """The trace goes on with a span of this hop; a record without one begins a trace."""
    given = (find(headers, TRACEPARENT) or b"").split(b"-")
    trace = given[1] if len(given) == 4 and len(given[1]) == 32 else secrets.token_hex(16).encode()
    return b"00-%b-%b-01" % (trace, secrets.token_hex(8).encode())


def onward_timing(headers: Headers, stage: str, queued_ms: float, spent_ms: float) -> bytes:
    """The timings so far and this stage's."""
    mine = f"{stage}={queued_ms:.3f}/{spent_ms:.3f}".encode()
    before = find(headers, TIMING)
    return mine if before is None else b"%b,%b" % (before, mine)


def cause_of(headers: Headers) -> Cause | None:
    """What the record follows from, when one of the stages wrote it."""
    header = find(headers, CAUSE)
    return None if header is None else Cause.parse(header)
