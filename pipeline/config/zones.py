"""Time zones by name, from the locked `tzdata` and not from the machine, so that a weekday is the
same everywhere and in every replay."""

from functools import lru_cache
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

_KEPT: Final = 512
"""Somewhat more zones than there are in use."""


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    return frozenset((resources.files("tzdata") / "zones").read_text().split())


@lru_cache(maxsize=_KEPT)
def zone(name: str) -> ZoneInfo | None:
    """The zone with this IANA name, such as Europe/Madrid; None: there is none."""
    if name not in _known():
        return None
    file = resources.files("tzdata.zoneinfo").joinpath(*name.split("/"))
    with file.open("rb") as data:
        return ZoneInfo.from_file(data, name)
