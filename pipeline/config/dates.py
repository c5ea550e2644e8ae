"""Dates in the configuration: ISO 8601, UTC unless they say otherwise."""

from datetime import UTC, date, datetime, time, timedelta


def start_ms(text: str) -> int:
    """Return epoch ms; a date alone begins at midnight. Raises ValueError for other text."""
    return _ms(_parse(text, timedelta(0)))


def end_ms(text: str) -> int:
    """Return epoch ms, exclusive; a date alone includes its day. Raises ValueError otherwise."""
    return _ms(_parse(text, timedelta(days=1)))


def day(at_ms: int) -> str:
    """Return the day (UTC) of an epoch ms, such as 2024-03-01."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()


def _parse(text: str, whole_day: timedelta) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time()) + whole_day
    except ValueError:
        return datetime.fromisoformat(text)


def _ms(moment: datetime) -> int:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)
