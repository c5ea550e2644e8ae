"""When it happened, by a sender whose clock may be wrong."""

from datetime import UTC, datetime
from typing import Final

from pipeline.gateway.refusal import Refusal, bad
from pipeline.model.time import MAX_AHEAD_MS, SECOND_MS

_LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999."""


def occurred_at(
    timestamp: str | int | None, sent_at: str | int | None, received_ms: int
) -> int | Refusal:
    """Epoch ms. As Segment does: the time received less the sender's own delay (`sentAt` less
    `timestamp`), so that a wrong clock cancels out; without `sentAt` the clock is believed.
    """
    if timestamp is None:
        return received_ms
    happened = epoch_ms(timestamp, "timestamp")
    sent = None if sent_at is None else epoch_ms(sent_at, "sentAt")
    if isinstance(happened, Refusal):
        return happened
    if isinstance(sent, Refusal):
        return sent
    if sent is not None:
        happened += received_ms - sent
    if happened > received_ms + MAX_AHEAD_MS:
        return bad("in_the_future", "timestamp", "timestamp is more than 1 h in the future")
    if not 0 <= happened <= _LAST_MS:
        return bad("invalid_time", "timestamp", "timestamp is before 1970")
    return happened


def epoch_ms(time: str | int, field: str) -> int | Refusal:
    """ISO 8601, UTC where no zone is given, or epoch milliseconds."""
    if isinstance(time, int):
        if 0 <= time <= _LAST_MS:
            return time
        return bad("invalid_time", field, f"{field} must be epoch milliseconds since 1970")
    try:
        moment = datetime.fromisoformat(time)
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(zoned.timestamp() * SECOND_MS)
    except (ValueError, OverflowError):
        return bad("invalid_time", field, f"{field} must be like 2026-01-31T12:00:00.000Z")
