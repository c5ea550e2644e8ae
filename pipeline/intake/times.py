"""When it happened, by a sender whose clock and units may be wrong."""

import re
from datetime import UTC, datetime
from typing import Final

from pipeline.config.dates import day
from pipeline.intake.refusal import Refusal, bad
from pipeline.model.time import MAX_AHEAD_MS, SECOND_MS

_LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999."""

_UNITS: Final = ((1e11, 1_000.0), (1e14, 1.0), (1e17, 1e-3), (1e20, 1e-6))
"""Below how much a number is seconds, milliseconds, microseconds or nanoseconds since 1970, and how
many milliseconds one of them has: each covers the years 1973 to 5138 of its unit."""

_NUMBER: Final = re.compile(r"-?[0-9]{9,19}(\.[0-9]{1,9})?")
_UTC: Final = re.compile(r"\s*(Z|UTC|GMT)$", re.IGNORECASE)


def occurred_at(
    timestamp: str | float | None, sent_at: str | float | None, received_ms: int, earliest_ms: int
) -> int | Refusal:
    """Epoch ms, not later than it was received. As Segment does: the time received less the
    sender's own delay (`sentAt` less `timestamp`), so that a wrong clock cancels out; without
    `sentAt` the clock is believed.
    """
    if timestamp is None:
        return received_ms
    happened = parse_time(timestamp, "timestamp")
    sent = None if sent_at is None else parse_time(sent_at, "sentAt")
    if isinstance(happened, Refusal):
        return happened
    if isinstance(sent, Refusal):
        return sent
    if sent is not None:
        happened += received_ms - sent
    return check_time(happened, "timestamp", received_ms, earliest_ms)


def check_time(at: int, field: str, received_ms: int, earliest_ms: int) -> int | Refusal:
    """`at`, or when it was received where a clock was somewhat ahead; refused where it cannot be
    true."""
    if at > received_ms + MAX_AHEAD_MS:
        return bad("in_the_future", field, f"{field} is more than 1 h in the future")
    if at < earliest_ms:
        what = f"{field} is before {day(earliest_ms)}, the earliest of its source"
        return bad("invalid_time", field, what)
    return min(at, received_ms)


def parse_time(time: str | float, field: str) -> int | Refusal:
    """ISO 8601, UTC where no zone is given, or a number since 1970, also as text: seconds,
    milliseconds, microseconds or nanoseconds, told apart by how great it is."""
    if isinstance(time, str) and _NUMBER.fullmatch(time):
        time = float(time) if "." in time else int(time)
    at = _parse_iso(time) if isinstance(time, str) else _parse_number(time)
    if at is not None and at <= _LAST_MS:
        return at
    what = f"{field} must be like 2026-01-31T12:00:00.000Z, or epoch milliseconds"
    return bad("invalid_time", field, what)


def _parse_number(time: float) -> int | None:
    """None: of no unit."""
    for below, each_ms in _UNITS:
        if abs(time) < below:
            return round(time * each_ms)
    return None


def _parse_iso(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(_UTC.sub("+00:00", text.strip()))
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(zoned.timestamp() * SECOND_MS)
    except (ValueError, OverflowError):
        return None
