"""Dependencies of a condition, so that only conditions with changed inputs are evaluated."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from pipeline.conditions.tree import (
    Absence,
    All,
    Any,
    Check,
    Compare,
    Condition,
    ContextField,
    Derived,
    Entered,
    EventField,
    Member,
    Not,
    Property,
    Sequence,
    Subject,
    Trait,
)

_Leaf: TypeAlias = Compare | Member | Entered | Sequence | Absence

CLOCK_OPERATORS: Final = frozenset(("within", "older_than"))
"""Operators whose result can change as time passes."""


@dataclass(frozen=True, slots=True)
class Reads:
    """Names that a condition reads, by kind; `uses_clock`: whether its result can change as time
    passes."""

    traits: frozenset[str]
    properties: frozenset[str]
    context_fields: frozenset[str]
    event_fields: frozenset[str]
    derived_names: frozenset[str]
    segments: frozenset[str]
    entered_segments: frozenset[str]
    uses_clock: bool

    @property
    def uses_interaction(self) -> bool:
        """Whether the condition reads the interaction itself."""
        return bool(
            self.properties or self.context_fields or self.event_fields or self.derived_names
        )


def reads(tree: Condition) -> Reads:
    """Return the names that `tree` reads."""
    leaves = list(_leaves(tree))
    subjects = [subject for leaf in leaves for subject in _subjects(leaf)]
    return Reads(
        traits=frozenset(s.name for s in subjects if isinstance(s, Trait)).union(
            _pattern_traits(leaves)
        ),
        properties=frozenset(s.name for s in subjects if isinstance(s, Property)),
        context_fields=frozenset(s.name for s in subjects if isinstance(s, ContextField)),
        event_fields=frozenset(s.name for s in subjects if isinstance(s, EventField)),
        derived_names=frozenset(s.name for s in subjects if isinstance(s, Derived)),
        segments=frozenset(leaf.segment for leaf in leaves if isinstance(leaf, Member)),
        entered_segments=frozenset(leaf.segment for leaf in leaves if isinstance(leaf, Entered)),
        uses_clock=any(check.operator in CLOCK_OPERATORS for check in _checks(leaves))
        or any(isinstance(leaf, Sequence | Absence) for leaf in leaves),
    )


def spans(tree: Condition) -> frozenset[tuple[str, int]]:
    """Return the traits compared with the clock, each with the age (ms) at which the result
    flips."""
    return frozenset(span for leaf in _leaves(tree) for span in _spans(leaf))


def patterns(tree: Condition) -> Iterator[Sequence | Absence]:
    """Yield the sequences and absences in `tree`, whose traits every profile must have."""
    for leaf in _leaves(tree):
        if isinstance(leaf, Sequence | Absence):
            yield leaf


def possible_names(tree: Condition) -> frozenset[str] | None:
    """Return the names of interactions for which `tree` can hold; None: of any name."""
    match tree:
        case Compare(EventField("name"), checks):
            return _intersect([_names_of(check) for check in checks])
        case All(parts):
            return _intersect([possible_names(part) for part in parts])
        case Any(parts):
            name_sets = [possible_names(part) for part in parts]
            limits = [names for names in name_sets if names is not None]
            return frozenset().union(*limits) if len(limits) == len(name_sets) else None
        case _:
            return None


def named_channels(tree: Condition) -> frozenset[str]:
    """Return the channels with which `tree` compares that of the interaction for equality."""
    checks = [
        check
        for leaf in _leaves(tree)
        if isinstance(leaf, Compare) and leaf.subject == EventField("channel")
        for check in leaf.checks
    ]
    return frozenset().union(*(_names_of(check) or () for check in checks))


def _names_of(check: Check) -> frozenset[str] | None:
    match check:
        case Check("is", str(name)):
            return frozenset((name,))
        case Check("in", tuple(names)):
            return frozenset(name for name in names if isinstance(name, str))
        case _:
            return None


def _intersect(name_sets: list[frozenset[str] | None]) -> frozenset[str] | None:
    limits = [names for names in name_sets if names is not None]
    return frozenset.intersection(*limits) if limits else None


def _spans(leaf: _Leaf) -> Iterator[tuple[str, int]]:
    match leaf:
        case Compare(Trait(name), checks):
            for check in checks:
                if check.operator in CLOCK_OPERATORS and isinstance(check.operand, int):
                    yield name, check.operand
        case Sequence():
            yield leaf.trait, leaf.for_ms
        case Absence():
            yield leaf.traits[0], leaf.for_ms


def _pattern_traits(leaves: list[_Leaf]) -> Iterator[str]:
    for leaf in leaves:
        if isinstance(leaf, Sequence):
            yield leaf.trait
        elif isinstance(leaf, Absence):
            yield from leaf.traits


def _leaves(tree: Condition) -> Iterator[_Leaf]:
    match tree:
        case All(parts) | Any(parts):
            for part in parts:
                yield from _leaves(part)
        case Not(part):
            yield from _leaves(part)
        case leaf:
            yield leaf


def _subjects(leaf: _Leaf) -> Iterator[Subject]:
    if isinstance(leaf, Compare):
        yield leaf.subject
        for check in leaf.checks:
            if isinstance(check.operand, Trait | Property):
                yield check.operand


def _checks(leaves: list[_Leaf]) -> Iterator[Check]:
    for leaf in leaves:
        if isinstance(leaf, Compare):
            yield from leaf.checks
