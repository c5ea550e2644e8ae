"""A geo database in MaxMind's format, such as GeoLite2-City or DB-IP's."""

from pathlib import Path
from typing import Any, cast

import maxminddb

from pipeline.enrichment.enrichers import Place, Places

_BROKEN = (OSError, ValueError, maxminddb.InvalidDatabaseError)


def open_places(file: Path) -> Places | str:
    """Looks addresses up in it, or why it cannot be used."""
    try:
        reader = maxminddb.open_database(file)
        reader.get("192.0.2.1")
    except _BROKEN as error:
        return f"not a geo database in MaxMind's format: {error}"

    def place(address: str) -> Place | None:
        try:
            found = reader.get(address)
        except (TypeError, ValueError):
            return None
        return _place(found) if isinstance(found, dict) else None

    return place


def _place(record: dict[str, Any]) -> Place:
    regions = record.get("subdivisions") or [{}]
    return Place(
        country=cast(str | None, record.get("country", {}).get("iso_code")),
        region=_name(regions[0]),
        city=_name(record.get("city", {})),
    )


def _name(part: dict[str, Any]) -> str | None:
    return cast(str | None, part.get("names", {}).get("en"))
