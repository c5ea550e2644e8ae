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
_UNUSABLE_ERRORS: Final = (
    OSError, ValueError, TypeError, LookupError, RecursionError, maxminddb.InvalidDatabaseError,
)  # fmt: skip
_MAX_NAME_CHARACTERS: Final = 200
"""Maximum length of a name; no place has a longer one."""

_RANDOM_RECORD_COUNT: Final = 2_000
_FIRST_RECORD_COUNT: Final = 20_000
_SEED: Final = 7


class _ShapeError(Exception):
    """Raised when a field has an unexpected shape; the message names it."""


def open_places(file: Path) -> Places | str:
    """Return a lookup of addresses in `file`, or the reason why it is unusable.

    The lookup returns None for an address whose record is missing or damaged.
    """
    try:
        reader = maxminddb.open_database(file)
        reader.get("192.0.2.1")
    except _UNUSABLE_ERRORS as error:
        return f"not a geo database in MaxMind's format: {_describe(error)}"

    def place(address: str) -> Place | None:
        try:
            record = reader.get(address)
            return None if record is None else _place(record)
        except (*_UNUSABLE_ERRORS, _ShapeError):
            return None

    return place


def geo_problem(file: Path) -> str | None:
    """Return the problem of a database: a record of another shape, or no record with a place.

    None: it has none. Reads records of random addresses, and the first records in order.
    """
    try:
        with maxminddb.open_database(file, maxminddb.MODE_FILE) as reader:
            assert isinstance(reader, PureReader)
            has_place = False
            records = chain(_random_records(reader), (record for _, record in reader))
            for record in islice(records, _RANDOM_RECORD_COUNT + _FIRST_RECORD_COUNT):
                has_place = has_place or _place(record) != Place()
    except _ShapeError as error:
        return f"a geo database of another shape: {error}"
    except _UNUSABLE_ERRORS as error:
        return f"not a geo database in MaxMind's format: {_describe(error)}"
    return None if has_place else "a geo database without country, region or city"


def _random_records(reader: PureReader) -> Iterator[object]:
    source = random.Random(_SEED)
    has_ipv6 = reader.metadata().ip_version == 6
    for number in range(_RANDOM_RECORD_COUNT):
        ipv4 = IPv4Address(source.getrandbits(32))
        ipv6 = IPv6Address(0x2 << 124 | source.getrandbits(124))
        record = reader.get(ipv6 if has_ipv6 and number % 2 else ipv4)
        if record is not None:
            yield record


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
    if value is not None and not (
        isinstance(value, str) and 0 < len(value) <= _MAX_NAME_CHARACTERS
    ):
        raise _ShapeError(f"{field} is not a text of 1 to {_MAX_NAME_CHARACTERS} characters")
    return value


def _describe(error: Exception) -> str:
    return " ".join(str(error).split())[:_MAX_NAME_CHARACTERS] or type(error).__name__
