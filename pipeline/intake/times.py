"""Times of events, from senders whose clocks and units may be wrong."""

import re
from datetime import UTC, datetime
from typing import Final

from pipeline.config.dates import day
from pipeline.intake.refusal import Refusal, refuse
from pipeline.model.time import MAX_AHEAD_MS, SECOND_MS

_MAX_TIME_MS: Final = 253_402_300_799_999
"""End of the year 9999."""

_UNITS: Final = ((1e11, 1_000.0), (1e14, 1.0), (1e17, 1e-3), (1e20, 1e-6))
"""Upper bounds of numbers in seconds, milliseconds, microseconds and nanoseconds since 1970, each
with the milliseconds of one unit; each range covers the years 1973 to 5138."""

_NUMBER: Final = re.compile(r"-?[0-9]{9,19}(\.[0-9]{1,9})?")
_UTC: Final = re.compile(r"\s*(Z|UTC|GMT)$", re.IGNORECASE)


def given_time(time: str | float | None) -> str | float | None:
    """Return a time, or None for a blank text, as in forms and tables."""
    return None if isinstance(time, str) and not time.strip() else time


def event_time(
    timestamp: str | float | None, sent_at: str | float | None, received_ms: int, earliest_ms: int
) -> int | Refusal:
    """Return the time of the event in epoch ms, not later than its receipt.

    As Segment does, the sender's own delay (`sentAt` less `timestamp`) is subtracted from the time
    of receipt, so that an error of the clock cancels out. Without `sentAt` the sender's clock is
    trusted.
    """
    timestamp, sent_at = given_time(timestamp), given_time(sent_at)
    if timestamp is None:
        return received_ms
    event_ms = parse_time(timestamp, "timestamp")
    sent_ms = None if sent_at is None else parse_time(sent_at, "sentAt")
    if isinstance(event_ms, Refusal):
        return event_ms
    if isinstance(sent_ms, Refusal):
        return sent_ms
    if sent_ms is not None:
        event_ms += received_ms - sent_ms
    return check_time(event_ms, "timestamp", received_ms, earliest_ms)


def check_time(time_ms: int, field: str, received_ms: int, earliest_ms: int) -> int | Refusal:
    """Return `time_ms`; the time of receipt for a `time_ms` at most an hour after the receipt.

    Refuse a `time_ms` further ahead, or before the earliest time of its source.
    """
    if time_ms > received_ms + MAX_AHEAD_MS:
        return refuse("in_the_future", field, f"{field} is more than 1 h in the future")
    if time_ms < earliest_ms:
        message = f"{field} is before {day(earliest_ms)}, the earliest of its source"
        return refuse("invalid_time", field, message)
    return min(time_ms, received_ms)


def parse_time(time: str | float, field: str) -> int | Refusal:
    """Return epoch ms of a time in ISO 8601 (UTC without a zone) or of a number since 1970.

    A number, also as text, is in seconds, milliseconds, microseconds or nanoseconds, by its size.
    """
    if isinstance(time, str) and _NUMBER.fullmatch(time):
        time = float(time) if "." in time else int(time)
    time_ms = _parse_iso(time) if isinstance(time, str) else _parse_number(time)
    if time_ms is not None and time_ms <= _MAX_TIME_MS:
        return time_ms
    message = f"{field} must be like 2026-01-31T12:00:00.000Z, or epoch milliseconds"
    return refuse("invalid_time", field, message)


def _parse_number(time: float) -> int | None:
    """Return epoch ms; None for a number beyond the largest unit's range."""
    for limit, unit_ms in _UNITS:
        if abs(time) < limit:
            return round(time * unit_ms)
    return None


def _parse_iso(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(_UTC.sub("+00:00", text.strip()))
        aware_moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(aware_moment.timestamp() * SECOND_MS)
    except (ValueError, OverflowError):
        return None
