"""Time zones by name, from the locked `tzdata`, so that all machines and replays agree."""

import re
from collections.abc import Mapping
from datetime import UTC, timedelta, timezone, tzinfo
from functools import lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

_CACHE_SIZE: Final = 512
"""Size of the cache: somewhat more than the zones in use."""
_MAX_NAME_LENGTH: Final = 64
"""Maximum of characters in a name."""
_OFFSET: Final = re.compile(
    r"(?:utc|gmt|z)?\s*([+-])\s*([0-9]{1,2})(?::?([0-5][0-9]))?", re.IGNORECASE
)
_MAX_OFFSET: Final = timedelta(hours=14)


def zone(name: str) -> tzinfo | None:
    """Return the zone called `name`; None for an unknown one.

    It is an IANA name such as Europe/Madrid, old ones included, in any case; or an offset such as
    `+02:00`, `GMT+2`, `UTC-0330`, east of Greenwich with a plus. (`Etc/GMT+2` is an IANA name, in
    which the plus is west.)
    """
    return _zone(name) if len(name) <= _MAX_NAME_LENGTH else None


@lru_cache(maxsize=_CACHE_SIZE)
def _zone(name: str) -> tzinfo | None:
    full_name = _zone_names().get(_fold(name))
    if full_name is not None:
        return _load(full_name)
    if offset := _OFFSET.fullmatch(name.strip()):
        return _fixed_zone(*offset.groups())
    return UTC if name.strip() in ("Z", "z") else None


@lru_cache(maxsize=1)
def _zone_names() -> Mapping[str, str]:
    names = (resources.files("tzdata") / "zones").read_text().split()
    return {_fold(name): name for name in names}


def _fold(name: str) -> str:
    return name.strip().replace(" ", "_").lower()


def _load(name: str) -> ZoneInfo:
    file = resources.files("tzdata.zoneinfo").joinpath(*name.split("/"))
    with file.open("rb") as data:
        return ZoneInfo.from_file(data, name)


def _fixed_zone(sign: str, hours: str, minutes: str | None) -> timezone | None:
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
    if offset > _MAX_OFFSET:
        return None
    return timezone(offset if sign == "+" else -offset)
