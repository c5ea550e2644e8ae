"""Typed tree of a condition, and the meaning of each part.

A value that is absent or null is *missing*. With a missing value on either side every check is
false, except `exists: false`, `is_not` and `not_in`, which are true. Values of different types
are never equal and never in order: text against number is false, and true is not 1. The elements of
a list are texts: `contains: 42` finds "42" there.

`within: d` holds for `now - d < t <= now`, `older_than: d` for `t <= now - d` (t in epoch ms).
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, TypeAlias

EventName: TypeAlias = Literal["name", "kind", "channel", "source"]
Operator: TypeAlias = Literal[
    "is",
    "is_not",
    "in",
    "not_in",
    "gt",
    "gte",
    "lt",
    "lte",
    "contains",
    "starts_with",
    "exists",
    "within",
    "older_than",
]


@dataclass(frozen=True, slots=True)
class Trait:
    """Named value of the profile."""

    name: str


@dataclass(frozen=True, slots=True)
class Property:
    """Property of the interaction; nested names are dotted."""

    name: str


@dataclass(frozen=True, slots=True)
class ContextField:
    """Field of the interaction's context: `locale`, `campaign.source`, `consent.marketing`…"""

    name: str


@dataclass(frozen=True, slots=True)
class EventField:
    """Field of the interaction itself."""

    name: EventName


@dataclass(frozen=True, slots=True)
class Derived:
    """Value that an enricher derived from the interaction: `device_type`, `country`…"""

    name: str


Subject: TypeAlias = Trait | Property | ContextField | EventField | Derived
Constant: TypeAlias = bool | int | float | str
Operand: TypeAlias = Constant | tuple[Constant, ...] | Trait | Property


@dataclass(frozen=True, slots=True)
class Check:
    """Operator and operand; a tuple for `in` and `not_in`, ms for `within` and `older_than`."""

    operator: Operator
    operand: Operand


@dataclass(frozen=True, slots=True)
class Compare:
    """Condition that holds when all `checks` hold for the subject's value."""

    subject: Subject
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """Condition that holds when the customer is in the segment after this interaction."""

    segment: str


@dataclass(frozen=True, slots=True)
class Entered:
    """Condition that holds when this interaction made the customer enter the segment."""

    segment: str


@dataclass(frozen=True, slots=True)
class All:
    """Condition that holds when every part holds; true without parts."""

    parts: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Any:
    """Condition that holds when some part holds; false without parts."""

    parts: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """Condition that holds when the part does not."""

    part: "Condition"


@dataclass(frozen=True, slots=True)
class Sequence:
    """Condition that holds when all `steps` were taken in order, at most `for_ms` ago.

    The last step comes at most `within_ms` after the first, without an interaction that fits
    `exclusion` in between. `trait` names the time (ms) of the last step of the latest such
    sequence.
    """

    steps: "tuple[Condition, ...]"
    exclusion: "Condition | None"
    within_ms: int
    for_ms: int

    @property
    def parts(self) -> "tuple[Condition, ...]":
        """Conditions on interactions that the sequence is made of."""
        return self.steps if self.exclusion is None else (*self.steps, self.exclusion)

    @property
    def trait(self) -> str:
        return _hidden_name(("sequence", self.steps, self.exclusion, self.within_ms))


@dataclass(frozen=True, slots=True)
class Absence:
    """Condition that holds when the latest interaction that fits `after` is at least `for_ms` ago,
    and none that fits `of` came with it or since."""

    of: "Condition"
    after: "Condition"
    for_ms: int

    @property
    def parts(self) -> "tuple[Condition, ...]":
        """Conditions on interactions that the absence is made of."""
        return (self.of, self.after)

    @property
    def traits(self) -> tuple[str, str]:
        """Names of the traits with the latest times (ms) of `after` and of `of`."""
        return latest_time_of(self.after), latest_time_of(self.of)


def latest_time_of(condition: "Condition") -> str:
    """Return the name of the trait with the latest time of an interaction that fits."""
    return _hidden_name(("latest", condition))


def is_hidden(trait: str) -> bool:
    """Return whether the trait belongs to a condition instead of being declared."""
    return trait.startswith(_HIDDEN_PREFIX)


def _hidden_name(meaning: object) -> str:
    """Return a name derived from the meaning, which is the same in every configuration.

    Rows store state under it: renaming a class or field of the tree would lose that state.
    """
    return _HIDDEN_PREFIX + sha256(repr(meaning).encode()).hexdigest()[:16]


_HIDDEN_PREFIX: Final = "~"

Condition: TypeAlias = All | Any | Not | Compare | Member | Entered | Sequence | Absence
