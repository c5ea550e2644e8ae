"""Dates in the configuration: ISO 8601, in UTC unless they have an offset."""

from datetime import UTC, date, datetime, time

from pipeline.model.time import DAY_MS


def start_ms(text: str) -> int:
    """Return epoch ms; a date alone begins at midnight. Raises ValueError for other text."""
    return _parse(text, whole_day=False)


def end_ms(text: str) -> int:
    """Return epoch ms, exclusive; a date alone includes its day. Raises ValueError for other
    text."""
    return _parse(text, whole_day=True)


def day(at_ms: int) -> str:
    """Return the day (UTC) of an epoch ms, such as 2024-03-01."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()


def _parse(text: str, whole_day: bool) -> int:
    try:
        midnight = datetime.combine(date.fromisoformat(text), time())
    except ValueError:
        return _ms(datetime.fromisoformat(text))
    # Added in ms, because `date` cannot hold the day after 9999-12-31.
    return _ms(midnight) + (DAY_MS if whole_day else 0)


def _ms(moment: datetime) -> int:
    zoned_moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(zoned_moment.timestamp() * 1000)
