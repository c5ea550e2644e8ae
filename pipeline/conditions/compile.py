"""Compiler from condition trees to closures, specialised by operator and type.

A test costs about a tenth of a microsecond per comparison.
"""

import operator as op
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from pipeline.conditions.facts import Facts
from pipeline.conditions.reads import Reads, possible_names, reads
from pipeline.conditions.tree import (
    Absence,
    All,
    Any,
    Check,
    Compare,
    Condition,
    Constant,
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
from pipeline.conditions.unknown import certain_form, possible_form
from pipeline.model.interaction import Context, FactValue, Interaction, Scalar, text_of
from pipeline.model.lists import part_reader

Test: TypeAlias = Callable[[Facts], bool]
Read: TypeAlias = Callable[[Facts], FactValue]
_Order: TypeAlias = Callable[[typing.Any, typing.Any], bool]

_NUMBERS: Final = frozenset((int, float))
_ORDERS: Final[dict[str, _Order]] = {"gt": op.gt, "gte": op.ge, "lt": op.lt, "lte": op.le}


@dataclass(frozen=True, slots=True)
class CompiledCondition:
    """Condition ready to run.

    `names`: the condition can hold only for interactions of these names. `is_certain` and
    `is_possible` test it where there is no interaction: whether it is true, and whether it is true
    or unknown.
    """

    tree: Condition
    test: Test
    reads: Reads
    names: frozenset[str] | None
    is_certain: Test
    is_possible: Test


def compile(tree: Condition) -> CompiledCondition:
    """Compile a condition; call it once per condition and configuration."""
    test, inputs = _compile_test(tree), reads(tree)
    return CompiledCondition(
        tree=tree,
        test=test,
        reads=inputs,
        names=possible_names(tree),
        is_certain=_compile_test(certain_form(tree)) if inputs.uses_interaction else test,
        is_possible=_compile_test(possible_form(tree)) if inputs.uses_interaction else test,
    )


def _compile_test(tree: Condition) -> Test:
    match tree:
        case All(parts):
            return _compile_all([_compile_test(part) for part in parts])
        case Any(parts):
            return _compile_any([_compile_test(part) for part in parts])
        case Not(part):
            part_test = _compile_test(part)
            return lambda facts: not part_test(facts)
        case Member(segment):
            return lambda facts: segment in facts.segments
        case Entered(segment):
            return lambda facts: segment in facts.entered_segments
        case Compare(subject, checks):
            read = reader(subject)
            return _compile_all([_compile_check(read, check) for check in checks])
        case Sequence():
            return _compile_within(reader(Trait(tree.trait)), tree.for_ms)
        case Absence():
            return _compile_absence(tree)


def _compile_all(tests: list[Test]) -> Test:
    match tests:
        case [test]:
            return test
        case [first_test, second_test]:
            return lambda facts: first_test(facts) and second_test(facts)
        case _:
            all_tests = tuple(tests)

            def are_all_true(facts: Facts) -> bool:
                for test in all_tests:  # noqa: SIM110 - a generator costs three times the loop
                    if not test(facts):
                        return False
                return True

            return are_all_true


def _compile_any(tests: list[Test]) -> Test:
    match tests:
        case [test]:
            return test
        case [first_test, second_test]:
            return lambda facts: first_test(facts) or second_test(facts)
        case _:
            all_tests = tuple(tests)

            def is_any_true(facts: Facts) -> bool:
                for test in all_tests:  # noqa: SIM110 - a generator costs three times the loop
                    if test(facts):
                        return True
                return False

            return is_any_true


def reader(subject: Subject) -> Read:
    """Return a function that reads `subject` from facts; it returns None for unknown values."""
    match subject:
        case Trait(name):
            return lambda facts: facts.traits.get(name)
        case Property(name):
            return interaction_reader(_property_reader(name))
        case ContextField(name):
            read = _context_reader(name)
            return interaction_reader(lambda interaction: read(interaction.context))
        case EventField(name):
            return interaction_reader(op.attrgetter(name))
        case Derived(name):
            return lambda facts: facts.derived_values.get(name)


def interaction_reader(read: Callable[[Interaction], FactValue]) -> Read:
    """Return a reader of the interaction; it returns None if there is none."""
    return lambda facts: None if facts.interaction is None else read(facts.interaction)


def _property_reader(name: str) -> Callable[[Interaction], FactValue]:
    """Return a reader of a property; of a list also `NAME.length` and, by its index, `NAME.0`."""
    list_name, _, part = name.rpartition(".")
    read_part = part_reader(part) if list_name else None
    if read_part is None:
        return lambda interaction: _own_value(interaction, name)

    def read(event: Interaction) -> FactValue:
        value = _own_value(event, name)
        if value is not None:
            return value
        values = event.lists.get(list_name)
        return None if values is None else read_part(values)

    return read


def _own_value(interaction: Interaction, name: str) -> FactValue:
    value = interaction.properties.get(name)
    return interaction.lists.get(name) if value is None else value


def _context_reader(name: str) -> Callable[[Context], Scalar]:
    """Return a reader of a context field by its dotted name."""
    group, dot, key = name.partition(".")
    if not dot:
        return cast(Callable[[Context], Scalar], op.attrgetter(name))
    if group == "campaign":
        return lambda context: context.campaign.get(key)
    return lambda context: context.consent.get(key)


def _compile_check(read: Read, check: Check) -> Test:
    operand = check.operand
    match check.operator:
        case "exists":
            return _compile_exists(read, bool(operand))
        case "is":
            return _compile_is(read, operand)
        case "is_not":
            return _negate(_compile_is(read, operand))
        case "in":
            return _compile_in(read, cast(tuple[Constant, ...], operand))
        case "not_in":
            return _negate(_compile_in(read, cast(tuple[Constant, ...], operand)))
        case "contains":
            return _compile_contains(read, cast(Constant, operand))
        case "starts_with":
            return _compile_starts_with(read, cast(str, operand))
        case "within":
            return _compile_within(read, cast(int, operand))
        case "older_than":
            return _compile_older_than(read, cast(int, operand))
        case order:
            return _compile_order(read, _ORDERS[order], operand)


def _negate(test: Test) -> Test:
    return lambda facts: not test(facts)


def _compile_exists(read: Read, expected: bool) -> Test:
    if expected:
        return lambda facts: read(facts) is not None
    return lambda facts: read(facts) is None


def _compile_is(read: Read, operand: object) -> Test:
    if isinstance(operand, Trait | Property):
        read_operand = reader(operand)
        return lambda facts: _are_equal(read(facts), read_operand(facts))
    if isinstance(operand, bool):
        return lambda facts: read(facts) is operand
    if isinstance(operand, str):
        return lambda facts: read(facts) == operand
    return lambda facts: (value := read(facts)) == operand and value.__class__ is not bool


def _are_equal(value: FactValue, operand: FactValue) -> bool:
    return (
        value is not None
        and value == operand
        and (value.__class__ is bool) is (operand.__class__ is bool)
    )


def _compile_in(read: Read, operand: tuple[Constant, ...]) -> Test:
    bools = frozenset(value for value in operand if isinstance(value, bool))
    non_bools = frozenset(value for value in operand if not isinstance(value, bool))
    texts = frozenset(map(text_of, operand))

    def is_in_set(facts: Facts) -> bool:
        value = read(facts)
        if isinstance(value, tuple):
            return not texts.isdisjoint(value)
        return value in (bools if value.__class__ is bool else non_bools)

    return is_in_set


def _compile_order(read: Read, order: _Order, operand: object) -> Test:
    if isinstance(operand, Trait | Property):
        return _compile_order_of_reads(read, reader(operand), order)
    if isinstance(operand, str):
        return lambda facts: (value := read(facts)).__class__ is str and order(value, operand)
    return lambda facts: (value := read(facts)).__class__ in _NUMBERS and order(value, operand)


def _compile_order_of_reads(read: Read, read_operand: Read, order: _Order) -> Test:
    def is_in_order(facts: Facts) -> bool:
        value, operand = read(facts), read_operand(facts)
        return _are_comparable(value, operand) and order(value, operand)

    return is_in_order


def _are_comparable(value: FactValue, operand: FactValue) -> bool:
    if value.__class__ in _NUMBERS:
        return operand.__class__ in _NUMBERS
    return value.__class__ is str and operand.__class__ is str


def _compile_contains(read: Read, operand: Constant) -> Test:
    element = text_of(operand)

    def has_element(facts: Facts) -> bool:
        value = read(facts)
        if isinstance(value, tuple):
            return element in value
        return isinstance(value, str) and isinstance(operand, str) and operand in value

    return has_element


def _compile_starts_with(read: Read, text: str) -> Test:
    return lambda facts: isinstance(value := read(facts), str) and value.startswith(text)


def _compile_within(read: Read, span_ms: int) -> Test:
    def is_recent(facts: Facts) -> bool:
        time = read(facts)
        if isinstance(time, bool) or not isinstance(time, int | float):
            return False
        return facts.now_ms - span_ms < time <= facts.now_ms

    return is_recent


def _compile_older_than(read: Read, span_ms: int) -> Test:
    def is_old(facts: Facts) -> bool:
        time = read(facts)
        if isinstance(time, bool) or not isinstance(time, int | float):
            return False
        return time <= facts.now_ms - span_ms

    return is_old


def _compile_absence(absence: Absence) -> Test:
    read_after, read_answer = (reader(Trait(name)) for name in absence.traits)
    is_long_ago = _compile_older_than(read_after, absence.for_ms)
    is_answered = _compile_order_of_reads(read_answer, read_after, op.ge)
    return lambda facts: is_long_ago(facts) and not is_answered(facts)


ALWAYS_TRUE: Final = compile(All(()))
"""Condition that always holds."""
