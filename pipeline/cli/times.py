"""Times in their written form."""

from datetime import UTC, datetime

import typer


def iso(at_ms: int) -> str:
    """Return epoch ms as ISO 8601 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def optional_ms(text: str | None) -> int | None:
    """Return a time as `epoch_ms` does, None for None."""
    return None if text is None else epoch_ms(text)


def epoch_ms(text: str) -> int:
    """Return a time in ISO 8601 (UTC if it names no zone) as epoch ms. Raises BadParameter."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a time like 2026-01-31T12:00:00Z") from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
