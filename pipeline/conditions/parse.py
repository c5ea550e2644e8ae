"""Parser of a condition's written form (YAML or JSON, already loaded).

A condition is a mapping of one of these forms:

    all: [condition, ...]      any: [condition, ...]      not: condition
    segment: NAME              member of the segment after this interaction
    entered: NAME              entered the segment by this interaction
    name: TEXT or [TEXT, ...]  the interaction's name; likewise kind, channel and source;
                               if several of the four are given, all must fit
    trait: NAME                value of the profile, with one or more operators
    property: NAME             the interaction's property, likewise
    context: NAME              locale, ip, campaign.source, consent.marketing..., likewise
    derived: NAME              value of an enricher: device_type, country..., likewise
    event: name|kind|channel|source                           likewise
    sequence: [condition, ...]  these interactions came in this order, with
        within: DURATION        longest time from the first to the last
        without: condition      no such interaction between them (optional)
        for: DURATION           time after the last for which it holds (default: within)
    absence: condition          no interaction that fits it came
        after: condition        since the latest interaction that fits this condition,
        for: DURATION           which came at least this time ago

Operators, which must all hold: `is`, `is_not`, `gt`, `gte`, `lt`, `lte` take a value or another
subject (`{trait: NAME}`, `{property: NAME}`); `in`, `not_in` a list; `contains` a part of a text or
an element of a list; `starts_with` a text; `exists` true or false; `within`, `older_than` a
duration such as `60m`, for times.

Of a property that is a list, `in` holds if any element is one of those given; `NAME.length` is the
number of elements, `NAME.0` the first.
"""

import re
from collections.abc import Callable
from typing import Final, TypeAlias, cast, get_args

from pipeline.conditions.duration import duration_ms
from pipeline.conditions.problem import Path, Problem, did_you_mean
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
    EventName,
    Member,
    Not,
    Operand,
    Operator,
    Property,
    Sequence,
    Subject,
    Trait,
)
from pipeline.model.interaction import Kind

NAME_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_.-]{0,99}$(?!\n)"
CONTEXT_PATTERN: Final = (
    r"^(ip|user_agent|url|referrer|locale|timezone|(campaign|consent)\.[^\n]{1,200})$(?!\n)"
)
MAX_DEPTH: Final = 32

KINDS: Final = get_args(Kind)
EVENT_FIELDS: Final = get_args(EventName)
OPERATORS: Final = get_args(Operator)
SUBJECTS: Final = ("trait", "property", "context", "event", "derived")

_Raw: TypeAlias = dict[str, object]
_Parser: TypeAlias = Callable[[_Raw, Path], Condition]


class _ParseError(Exception):
    """Raised for problems in a condition; caught where parsing can continue, at the latest in
    `parse`."""

    def __init__(self, path: Path, message: str) -> None:
        self.problems = [Problem(path, message)]


def parse(raw: object) -> Condition | tuple[Problem, ...]:
    """Return the tree, or every problem found, with paths relative to `raw`."""
    try:
        return _condition(raw, ())
    except _ParseError as error:
        return tuple(error.problems)


def _condition(raw: object, path: Path) -> Condition:
    if len(path) > 2 * MAX_DEPTH:
        raise _ParseError(path, f"nested deeper than {MAX_DEPTH} conditions")
    if not isinstance(raw, dict) or not raw:
        raise _ParseError(path, "a condition is a mapping such as {trait: age, gte: 18}")
    return _find_parser(raw, path)(raw, path)


def _find_parser(raw: _Raw, path: Path) -> _Parser:
    for key in raw:
        if key not in _KEYS:
            message = f"{key!r} is not part of a condition: {did_you_mean(str(key), _KEYS)}"
            raise _ParseError((*path, key), message)
    patterns = [key for key in raw if key in _PATTERN_PARSERS]
    if patterns:
        _refuse_other_keys(patterns[0], raw, path, _COMPANIONS[patterns[0]])
        return _PATTERN_PARSERS[patterns[0]]
    standalone_keys = [key for key in raw if key in _STANDALONE_PARSERS]
    subjects = [key for key in raw if key in SUBJECTS]
    fields = [key for key in raw if key in EVENT_FIELDS]
    operators = [key for key in raw if key in OPERATORS]
    if standalone_keys:
        _refuse_other_keys(standalone_keys[0], raw, path)
        return _STANDALONE_PARSERS[standalone_keys[0]]
    if len(subjects) > 1 or (subjects and fields):
        subject_names = " and ".join([*subjects, *fields][:2])
        raise _ParseError(path, f"{subject_names} are two conditions: put each in a list under all")
    if subjects:
        if not operators:
            message = f"{subjects[0]} needs an operator: {', '.join(OPERATORS)}"
            raise _ParseError((*path, subjects[0]), message)
        return _compare
    if operators:
        remedy = f"write {{event: {fields[0]}, ...}}" if fields else "add a subject such as trait"
        raise _ParseError((*path, operators[0]), f"{operators[0]} has no subject: {remedy}")
    return _fields


def _refuse_other_keys(key: str, raw: _Raw, path: Path, companions: tuple[str, ...] = ()) -> None:
    for other in raw:
        if other != key and other not in companions:
            message = f"{key} stands alone: put it and {other} in a list under all"
            raise _ParseError((*path, other), message)


def _all(raw: _Raw, path: Path) -> Condition:
    return All(_parts(raw["all"], (*path, "all")))


def _any(raw: _Raw, path: Path) -> Condition:
    return Any(_parts(raw["any"], (*path, "any")))


def _not(raw: _Raw, path: Path) -> Condition:
    return Not(_condition(raw["not"], (*path, "not")))


def _member(raw: _Raw, path: Path) -> Condition:
    return Member(_name(raw["segment"], (*path, "segment")))


def _entry(raw: _Raw, path: Path) -> Condition:
    return Entered(_name(raw["entered"], (*path, "entered")))


def _sequence(raw: _Raw, path: Path) -> Condition:
    steps = _parts(raw["sequence"], (*path, "sequence"))
    if len(steps) < 2:
        raise _ParseError((*path, "sequence"), "a sequence takes a list of two or more conditions")
    within_ms = _required_duration(raw, "within", path)
    exclusion = _condition(raw["without"], (*path, "without")) if "without" in raw else None
    return Sequence(
        steps,
        exclusion,
        within_ms,
        _duration("for", raw["for"], (*path, "for")) if "for" in raw else within_ms,
    )


def _absence(raw: _Raw, path: Path) -> Condition:
    if "after" not in raw:
        message = "absence needs after: the interaction since which none may have come"
        raise _ParseError((*path, "absence"), message)
    return Absence(
        _condition(raw["absence"], (*path, "absence")),
        _condition(raw["after"], (*path, "after")),
        _required_duration(raw, "for", path),
    )


def _required_duration(raw: _Raw, key: str, path: Path) -> int:
    if key not in raw:
        raise _ParseError(path, f"{key} is missing: a duration such as 2h")
    return _duration(key, raw[key], (*path, key))


_PATTERN_PARSERS: Final[dict[str, _Parser]] = {"sequence": _sequence, "absence": _absence}
_COMPANIONS: Final = {"sequence": ("within", "without", "for"), "absence": ("after", "for")}
_STANDALONE_PARSERS: Final[dict[str, _Parser]] = {
    "all": _all,
    "any": _any,
    "not": _not,
    "segment": _member,
    "entered": _entry,
}
_KEYS: Final = (
    *_STANDALONE_PARSERS, *SUBJECTS, *EVENT_FIELDS, *OPERATORS, *_PATTERN_PARSERS,
    "without", "after", "for",
)  # fmt: skip


def _parts(raw: object, path: Path) -> tuple[Condition, ...]:
    """Parse a list of conditions; continue after an invalid part, so that all problems are
    found."""
    if not isinstance(raw, list) or not raw:
        raise _ParseError(path, f"{path[-1]} takes a list of one or more conditions")
    parts: list[Condition] = []
    errors: list[_ParseError] = []
    for index, part in enumerate(raw):
        try:
            parts.append(_condition(part, (*path, index)))
        except _ParseError as error:
            errors.append(error)
    if errors:
        errors[0].problems = [problem for error in errors for problem in error.problems]
        raise errors[0]
    return tuple(parts)


def _fields(raw: _Raw, path: Path) -> Condition:
    compares = tuple(
        Compare(EventField(cast(EventName, key)), (Check("in", _texts(key, value, (*path, key))),))
        for key, value in raw.items()
    )
    return compares[0] if len(compares) == 1 else All(compares)


def _texts(key: str, raw: object, path: Path) -> tuple[str, ...]:
    items = raw if isinstance(raw, list) else [raw]
    texts = tuple(text for text in items if isinstance(text, str) and text)
    if not texts or len(texts) < len(items):
        raise _ParseError(path, f"{key} takes a text or a list of texts")
    for text in texts if key == "kind" else ():
        if text not in KINDS:
            raise _ParseError(path, f"no kind {text!r}: {did_you_mean(text, KINDS)}")
    return texts


def _compare(raw: _Raw, path: Path) -> Condition:
    key = next(key for key in raw if key in SUBJECTS)
    checks = tuple(
        Check(cast(Operator, operator), _operand(operator, operand, (*path, operator)))
        for operator, operand in raw.items()
        if operator != key
    )
    return Compare(_subject(key, raw[key], (*path, key)), checks)


def _subject(key: str, raw: object, path: Path) -> Subject:
    match key:
        case "trait":
            return Trait(_name(raw, path))
        case "property":
            return Property(_property(raw, path))
        case "event":
            return EventField(_event_field(raw, path))
        case "derived":
            return Derived(_name(raw, path))
        case _:
            return ContextField(_context_field(raw, path))


def _name(raw: object, path: Path) -> str:
    if isinstance(raw, str) and re.search(NAME_PATTERN, raw):
        return raw
    message = f"{raw!r} is not a name: a letter, then letters, digits, '_', '.' or '-'"
    raise _ParseError(path, message)


def _property(raw: object, path: Path) -> str:
    if isinstance(raw, str) and raw:
        return raw
    raise _ParseError(path, "property takes the name of a property")


def _event_field(raw: object, path: Path) -> EventName:
    if raw in EVENT_FIELDS:
        return cast(EventName, raw)
    choices = f"one of {', '.join(EVENT_FIELDS)}"
    raise _ParseError(path, f"event takes {choices}; a name is written {{name: {raw}}}")


def is_context_field(name: str) -> bool:
    """Return whether `name` is a field of the context, dotted inside `campaign` and `consent`."""
    return re.search(CONTEXT_PATTERN, name) is not None


def _context_field(raw: object, path: Path) -> str:
    if isinstance(raw, str) and is_context_field(raw):
        return raw
    fields = "ip, user_agent, url, referrer, locale, timezone, campaign.NAME, consent.NAME"
    raise _ParseError(path, f"no context field {raw!r}: there are {fields}")


def _operand(operator: str, raw: object, path: Path) -> Operand:
    match operator:
        case "in" | "not_in":
            if isinstance(raw, list) and raw and all(_is_constant(item) for item in raw):
                return tuple(raw)
            raise _ParseError(path, f"{operator} takes a list of values")
        case "contains":
            if _is_constant(raw) and raw != "":
                return cast(Constant, raw)
            raise _ParseError(path, "contains takes a text, or any value that a list may hold")
        case "starts_with":
            if isinstance(raw, str) and raw:
                return raw
            raise _ParseError(path, "starts_with takes a text")
        case "exists":
            if isinstance(raw, bool):
                return raw
            raise _ParseError(path, "exists takes true or false")
        case "within" | "older_than":
            return _duration(operator, raw, path)
        case _:
            return _value(operator, raw, path)


def _duration(operator: str, raw: object, path: Path) -> int:
    try:
        return duration_ms(raw if isinstance(raw, str) else repr(raw))
    except ValueError as error:
        raise _ParseError(path, f"{operator}: {error}") from None


def _value(operator: str, raw: object, path: Path) -> Operand:
    if isinstance(raw, dict):
        return _other_subject(raw, path)
    if raw is None:
        raise _ParseError(path, f"{operator} needs a value; for none write exists: false")
    if not _is_constant(raw):
        raise _ParseError(path, f"{operator} takes one value; for several use in")
    if isinstance(raw, bool) and operator not in ("is", "is_not"):
        raise _ParseError(path, f"{operator} compares numbers or texts, not true or false")
    return cast(Constant, raw)


def _other_subject(raw: _Raw, path: Path) -> Trait | Property:
    match list(raw.items()):
        case [("trait", name)]:
            return Trait(_name(name, (*path, "trait")))
        case [("property", name)]:
            return Property(_property(name, (*path, "property")))
        case _:
            raise _ParseError(
                path, "to compare with another value, write {trait: NAME} or {property: NAME}"
            )


def _is_constant(raw: object) -> bool:
    return isinstance(raw, bool | int | float | str)
