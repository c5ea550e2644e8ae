"""A condition as a typed tree, and what each part of it means.

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
    """A named value of the profile."""

    name: str


@dataclass(frozen=True, slots=True)
class Property:
    """A property of the interaction, nested names dotted."""

    name: str


@dataclass(frozen=True, slots=True)
class ContextField:
    """A circumstance of the interaction: `locale`, `campaign.source`, `consent.marketing`..."""

    name: str


@dataclass(frozen=True, slots=True)
class EventField:
    """A field of the interaction itself."""

    name: EventName


@dataclass(frozen=True, slots=True)
class Derived:
    """What an enricher made of the interaction: `device_type`, `country`..."""

    name: str


Subject: TypeAlias = Trait | Property | ContextField | EventField | Derived
Constant: TypeAlias = bool | int | float | str
Operand: TypeAlias = Constant | tuple[Constant, ...] | Trait | Property


@dataclass(frozen=True, slots=True)
class Check:
    """`operand` is a tuple for `in` and `not_in`, milliseconds for `within` and `older_than`."""

    operator: Operator
    operand: Operand


@dataclass(frozen=True, slots=True)
class Compare:
    """All `checks` hold for the subject's value."""

    subject: Subject
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """The customer is in the segment after this interaction."""

    segment: str


@dataclass(frozen=True, slots=True)
class Entered:
    """This interaction brought the customer into the segment."""

    segment: str


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; true without parts."""

    parts: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Any:
    """Some part holds; false without parts."""

    parts: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: "Condition"


@dataclass(frozen=True, slots=True)
class Sequence:
    """All `steps` were taken in their order, the last at most `within_ms` after the first and
    without an interaction that fits `without` between them, at most `for_ms` ago.

    `trait` names the time (ms) of the last step of the latest such sequence.
    """

    steps: "tuple[Condition, ...]"
    without: "Condition | None"
    within_ms: int
    for_ms: int

    @property
    def parts(self) -> "tuple[Condition, ...]":
        """The conditions on interactions that it is made of."""
        return self.steps if self.without is None else (*self.steps, self.without)

    @property
    def trait(self) -> str:
        return _hidden(("sequence", self.steps, self.without, self.within_ms))


@dataclass(frozen=True, slots=True)
class Absence:
    """The latest interaction that fits `after` is `for_ms` ago or more, and none that fits `of`
    came with it or since."""

    of: "Condition"
    after: "Condition"
    for_ms: int

    @property
    def parts(self) -> "tuple[Condition, ...]":
        """The conditions on interactions that it is made of."""
        return (self.of, self.after)

    @property
    def traits(self) -> tuple[str, str]:
        """Names of the latest times (ms) of `after` and of `of`."""
        return latest_time_of(self.after), latest_time_of(self.of)


def latest_time_of(condition: "Condition") -> str:
    """The name of the trait with the latest time of an interaction that fits."""
    return _hidden(("latest", condition))


def is_hidden(trait: str) -> bool:
    """Whether the trait belongs to a condition, and nobody gave it its name."""
    return trait.startswith(_HIDDEN)


def _hidden(what: object) -> str:
    """The same meaning has the same name, in every configuration."""
    return _HIDDEN + sha256(repr(what).encode()).hexdigest()[:16]


_HIDDEN: Final = "~"

Condition: TypeAlias = All | Any | Not | Compare | Member | Entered | Sequence | Absence
