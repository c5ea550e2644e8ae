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


def did_you_mean(name: str, names: Collection[str]) -> str:
    """Return the end of an error message: the nearest of `names`, else the first of them."""
    names_by_casefold = {
        candidate.casefold(): candidate for candidate in sorted(names, reverse=True)
    }
    close_names = get_close_matches(name.casefold(), names_by_casefold, n=1, cutoff=0.6)
    if close_names:
        return f"did you mean {names_by_casefold[close_names[0]]!r}?"
    if not names:
        return "none is defined"
    return f"known: {', '.join(sorted(names)[:12])}{', ...' if len(names) > 12 else ''}"
