"""Attributes of a catalogue's item, as models read them."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct


class ItemValues(Struct, frozen=True, cache_hash=True):
    """Attributes of an item, by name in order; `starts` (epoch ms): beginning of its validity;
    None: it is valid from the start."""

    values: tuple[tuple[str, str | float], ...] = ()
    starts: int | None = None

    @classmethod
    def of(cls, attributes: Mapping[str, str | float], starts: int | None) -> "ItemValues":
        """Return the values of an item."""
        return cls(tuple(sorted(attributes.items())), starts)

    def numbers(self) -> dict[str, float]:
        """Return the values that are numbers."""
        return {name: value for name, value in self.values if not isinstance(value, str)}

    def texts(self) -> dict[str, str]:
        """Return the values that are texts."""
        return {name: value for name, value in self.values if isinstance(value, str)}


NO_ITEM: Final = ItemValues()
"""Values of a candidate that is not an item of a catalogue."""
