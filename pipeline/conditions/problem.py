"""Problems in written values, with their paths."""

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indexes that lead to a value, from the outside inwards."""


@dataclass(frozen=True, slots=True)
class UnknownName:
    """Undefined name of a kind (`segment`, `trait`…)."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Problem in a written value.

    `message` names the fault and its remedy; `path` points at the key or item. `unknown`: the
    undefined name, if that is the only fault.
    """

    path: Path
    message: str
    unknown: UnknownName | None = None

    def under(self, prefix: Path) -> "Problem":
        """Return the problem with `prefix` before its path."""
        return Problem(prefix + self.path, self.message, self.unknown)


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return the end of an error message: the nearest known name, else the known names."""
    folded = {known_name.casefold(): known_name for known_name in sorted(known, reverse=True)}
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    if not known:
        return "none is defined"
    return f"known: {', '.join(sorted(known)[:12])}{', ...' if len(known) > 12 else ''}"
