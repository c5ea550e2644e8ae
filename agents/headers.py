"""Record headers: `traceparent` (W3C), `kairos-cause`, and `kairos-timing`.

`kairos-timing` is `stage=queued/spent` for each stage so far, milliseconds with 3 decimals,
separated by commas: the record's wait for the stage, and the stage's processing time.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from agents.idempotence import Cause
from pipeline.adapters import traces
from pipeline.adapters.headers import first_header
from pipeline.model import topics

Headers: TypeAlias = Sequence[tuple[str, bytes]]

TRACEPARENT: Final = traces.HEADER
CAUSE: Final = topics.CAUSE_HEADER
TIMING: Final = "kairos-timing"

_MAX_TIMING_BYTES: Final = 1_024
"""Maximum size in bytes; a stage adds about 40. Upstream apps may set this header to anything."""


def onward_trace(headers: Headers) -> bytes:
    """Return the header of this hop: the record's trace, or a new one, with a new span id."""
    return traces.continue_trace(first_header(headers, TRACEPARENT)).hop_header()


def onward_timing(headers: Headers, stage: str, queued_ms: float, spent_ms: float) -> bytes:
    """Return the timings of the earlier stages, dropped if they are too long, and of this one."""
    timing = f"{stage}={queued_ms:.3f}/{spent_ms:.3f}".encode()
    earlier_timings = first_header(headers, TIMING)
    if earlier_timings is None or len(earlier_timings) > _MAX_TIMING_BYTES:
        return timing
    return b"%b,%b" % (earlier_timings, timing)


def cause_of(headers: Headers) -> Cause | None:
    """Return the cause of a record that a stage wrote; None for other records."""
    header = first_header(headers, CAUSE)
    return None if header is None else Cause.parse(header)
