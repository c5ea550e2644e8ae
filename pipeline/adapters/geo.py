"""Geo databases in MaxMind's format, such as GeoLite2-City or DB-IP's."""

import random
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import chain, islice
from pathlib import Path
from typing import Final

import maxminddb
from maxminddb.reader import Reader as PureReader

from pipeline.enrichment.enrichers import Place, Places

MAX_BYTES: Final = 1 << 30
_UNUSABLE: Final = (
    OSError, ValueError, TypeError, LookupError, RecursionError, maxminddb.InvalidDatabaseError,
)  # fmt: skip
_LONGEST: Final = 200
"""Maximum of characters in a name; no place has a longer one."""

_CHANCE: Final = 2_000
_IN_ORDER: Final = 20_000
_SEED: Final = 7


class _ShapeError(Exception):
    """Raised when a field has an unexpected shape; the message names it."""


def open_places(file: Path) -> Places | str:
    """Return a lookup of addresses in `file`, or the reason why it is unusable.

    An address with a damaged record has no known place.
    """
    try:
        reader = maxminddb.open_database(file)
        reader.get("192.0.2.1")
    except _UNUSABLE as error:
        return f"not a geo database in MaxMind's format: {_words(error)}"

    def place(address: str) -> Place | None:
        try:
            record = reader.get(address)
            return None if record is None else _place(record)
        except (*_UNUSABLE, _ShapeError):
            return None

    return place


def geo_problem(file: Path) -> str | None:
    """Return the problem of a database: records of another shape, or none with a place.

    It samples records of random addresses, and the first records in order.
    """
    try:
        with maxminddb.open_database(file, maxminddb.MODE_FILE) as reader:
            assert isinstance(reader, PureReader)
            named = False
            for record in islice(chain(_by_chance(reader), _in_order(reader)), _CHANCE + _IN_ORDER):
                named = named or _place(record) != Place()
    except _ShapeError as error:
        return f"a geo database of another shape: {error}"
    except _UNUSABLE as error:
        return f"not a geo database in MaxMind's format: {_words(error)}"
    return None if named else "a geo database without country, region or city"


def _by_chance(reader: PureReader) -> Iterator[object]:
    dice = random.Random(_SEED)
    wide = reader.metadata().ip_version == 6
    for number in range(_CHANCE):
        small = IPv4Address(dice.getrandbits(32))
        great = IPv6Address(0x2 << 124 | dice.getrandbits(124))
        record = reader.get(great if wide and number % 2 else small)
        if record is not None:
            yield record


def _in_order(reader: PureReader) -> Iterator[object]:
    return (record for _, record in reader)


def _place(record: object) -> Place:
    fields = _fields(record, "a record")
    regions = fields.get("subdivisions") or [{}]
    if not isinstance(regions, list):
        raise _ShapeError("subdivisions is not a list")
    country = _fields(fields.get("country", {}), "country")
    return Place(
        country=_text(country.get("iso_code"), "country.iso_code"),
        region=_name(regions[0], "subdivisions"),
        city=_name(fields.get("city", {}), "city"),
    )


def _name(part: object, field: str) -> str | None:
    names = _fields(_fields(part, field).get("names", {}), f"{field}.names")
    return _text(names.get("en"), f"{field}.names.en")


def _fields(value: object, field: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _ShapeError(f"{field} has no fields")
    return value


def _text(value: object, field: str) -> str | None:
    if value is not None and not (isinstance(value, str) and 0 < len(value) <= _LONGEST):
        raise _ShapeError(f"{field} is not a text of 1 to {_LONGEST} characters")
    return value


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__
