"""What is wrong with something written, and where in it."""

from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indexes that lead to a value, from the outside inwards."""


@dataclass(frozen=True, slots=True)
class UnknownName:
    """A name that nothing of its kind (`segment`, `trait`...) has."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Problem:
    """`message` says what is wrong and how to mend it; `path` points at the key or item.

    `unknown`: the name that is not there, where that is all that is wrong.
    """

    path: Path
    message: str
    unknown: UnknownName | None = None

    def under(self, prefix: Path) -> "Problem":
        """The same problem, seen from where the value stands under `prefix`."""
        return Problem(prefix + self.path, self.message, self.unknown)


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The end of an error message: the nearest known name, or else what there is."""
    close = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if not known:
        return "none is defined"
    return f"known: {', '.join(sorted(known)[:12])}{', ...' if len(known) > 12 else ''}"
