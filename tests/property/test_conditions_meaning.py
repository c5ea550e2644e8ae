"""Compiled conditions against a naive interpreter, and the parser against the published schema."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pipeline.conditions import Facts, compile, parse
from pipeline.conditions.reads import possible_names
from pipeline.conditions.schema import CONDITION
from pipeline.model.interaction import Context, Identifier, Interaction

NOW = 1_000_000

names = st.sampled_from(["a", "b", "c"])
numbers = st.sampled_from([0, 1, 2, 1.5, -3, NOW - 1000, NOW - 500, NOW, NOW + 1])
constants = st.one_of(names, numbers, st.booleans(), st.sampled_from(["ab", "1", ""]))
scalars = st.one_of(constants, st.none())
lists = st.lists(st.sampled_from(["a", "b", "ab", "1", "1.5", "true", ""]), max_size=3).map(tuple)
durations = st.sampled_from(["1ms", "500ms", "1s"])
references = st.one_of(
    st.fixed_dictionaries({"trait": names}), st.fixed_dictionaries({"property": names})
)
operands: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("is", "is_not"), st.one_of(constants, references)),
    **dict.fromkeys(("in", "not_in"), st.lists(constants, min_size=1, max_size=3)),
    **dict.fromkeys(("gt", "gte", "lt", "lte"), st.one_of(names, numbers, references)),
    "contains": st.one_of(names, numbers, st.booleans()),
    "starts_with": names,
    "exists": st.booleans(),
    **dict.fromkeys(("within", "older_than"), durations),
}
operators = st.fixed_dictionaries({}, optional=operands).filter(bool)
contexts = st.sampled_from(["ip", "locale", "campaign.a", "consent.b"])
event_fields = st.sampled_from(["name", "kind", "channel", "source"])
subjects = st.one_of(
    st.fixed_dictionaries({"trait": names}),
    st.fixed_dictionaries({"property": names}),
    st.fixed_dictionaries({"context": contexts}),
    st.fixed_dictionaries({"event": event_fields}),
    st.fixed_dictionaries({"derived": names}),
)
comparisons = st.builds(lambda subject, checks: {**subject, **checks}, subjects, operators)
texts = st.one_of(names, st.lists(names, min_size=1, max_size=2))
fields = st.fixed_dictionaries(
    {}, optional={"name": texts, "channel": texts, "kind": st.just("track"), "source": texts}
).filter(bool)
leaves = st.one_of(
    comparisons,
    fields,
    st.fixed_dictionaries({"segment": names}),
    st.fixed_dictionaries({"entered": names}),
)


def _grow(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    part_lists = st.lists(parts, min_size=1, max_size=4)
    return st.one_of(
        st.fixed_dictionaries({"all": part_lists}),
        st.fixed_dictionaries({"any": part_lists}),
        st.fixed_dictionaries({"not": parts}),
    )


conditions = st.recursive(leaves, _grow, max_leaves=8)
interactions = st.builds(
    lambda name, channel, properties, ip, lists: Interaction(
        "e",
        "track",
        name,
        channel,
        "a",
        NOW,
        NOW,
        (Identifier("n", "v"),),
        properties,
        Context(ip=ip, campaign={"a": "b"}, consent={"b": True}),
        None,
        {name: values for name, values in lists.items() if name not in properties},
    ),
    names,
    names,
    st.dictionaries(names, scalars),
    st.one_of(st.none(), names),
    st.dictionaries(names, lists),
)
facts = st.builds(
    Facts,
    st.one_of(st.none(), interactions),
    st.dictionaries(names, st.one_of(scalars, lists)),
    st.frozensets(names),
    st.frozensets(names),
    st.just(NOW),
    st.dictionaries(names, scalars),
)


def value_of(subject: dict[str, str], facts: Facts) -> Any:
    [(kind, name)] = subject.items()
    if kind == "trait":
        return facts.traits.get(name)
    if kind == "derived":
        return facts.derived_values.get(name)
    if facts.interaction is None:
        return None
    if kind == "property":
        interaction = facts.interaction
        return (
            interaction.lists[name]
            if name in interaction.lists
            else interaction.properties.get(name)
        )
    if kind == "event":
        return getattr(facts.interaction, name)
    group, _, key = name.partition(".")
    fields = getattr(facts.interaction.context, group)
    return fields.get(key) if key else fields


def type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, tuple):
        return "list"
    return "text" if isinstance(value, str) else "number"


def element_text(constant: Any) -> str:
    """Return the value in the form of an element of a list."""
    if isinstance(constant, bool):
        return "true" if constant else "false"
    return constant if isinstance(constant, str) else f"{constant:g}"


def check(operator: str, value: Any, operand: Any, facts: Facts) -> bool:
    if operator == "exists":
        return (value is not None) is operand
    if operator in ("is_not", "not_in"):
        return not check({"is_not": "is", "not_in": "in"}[operator], value, operand, facts)
    if isinstance(operand, dict):
        operand = value_of(operand, facts)
    return value is not None and operand is not None and compare(operator, value, operand)


def compare(operator: str, value: Any, operand: Any) -> bool:
    value_type = type_of(value)
    match operator:
        case "in" if value_type == "list":
            return any(element_text(item) in value for item in operand)
        case "contains" if value_type == "list":
            return element_text(operand) in value
        case "contains" if type_of(operand) != "text":
            return False
        case "is" | "in":
            alternatives = operand if operator == "in" else [operand]
            return any(
                type_of(alternative) == value_type and alternative == value
                for alternative in alternatives
            )
        case "within" | "older_than":
            start = NOW - {"1ms": 1, "500ms": 500, "1s": 1000}[operand]
            if value_type == "number":
                return start < value <= NOW if operator == "within" else value <= start
        case "contains" | "starts_with":
            if value_type == "text":
                return operand in value if operator == "contains" else value.startswith(operand)
        case _:
            if value_type == type_of(operand) not in ("bool", "list"):
                signs = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
                order = (value > operand) - (value < operand)
                return {1: ">", 0: "=", -1: "<"}[order] in signs[operator]
    return False


def interpret(form: dict[str, Any], facts: Facts) -> bool:
    """Return whether the written form holds, evaluated without compilation."""
    match form:
        case {"all": parts}:
            return all(interpret(part, facts) for part in parts)
        case {"any": parts}:
            return any(interpret(part, facts) for part in parts)
        case {"not": part}:
            return not interpret(part, facts)
        case {"segment": name}:
            return name in facts.segments
        case {"entered": name}:
            return name in facts.entered_segments
    kinds = ("trait", "property", "context", "event", "derived")
    subject = {k: v for k, v in form.items() if k in kinds}
    if subject:
        checks = {k: v for k, v in form.items() if k not in subject}
        value = value_of(subject, facts)
        return all(check(name, value, operand, facts) for name, operand in checks.items())
    if facts.interaction is None:
        return False
    return all(
        getattr(facts.interaction, name) in (value if isinstance(value, list) else [value])
        for name, value in form.items()
    )


@given(conditions, facts)
def test_compiled_condition_means_its_written_form(form: dict[str, Any], facts: Facts) -> None:
    tree = parse(form)
    assert not isinstance(tree, tuple)
    assert compile(tree).test(facts) is interpret(form, facts)


@given(conditions, facts)
def test_condition_holds_only_for_its_names(form: dict[str, Any], facts: Facts) -> None:
    tree = parse(form)
    assert not isinstance(tree, tuple)
    event_names = possible_names(tree)
    if event_names is not None and compile(tree).test(facts):
        assert facts.interaction is not None
        assert facts.interaction.name in event_names


keys = st.sampled_from(
    [*operands, "all", "any", "not", "segment", "entered", "trait", "property", "context",
     "event", "derived", "name", "kind", "channel", "source", "odd"]
)  # fmt: skip
malformed_forms = st.recursive(
    st.one_of(scalars, durations, contexts, event_fields, st.sampled_from(["track", "5x", "a\n"])),
    lambda parts: st.one_of(
        st.lists(parts, max_size=2), st.dictionaries(keys, parts, max_size=3), _grow(parts)
    ),
    max_leaves=6,
)
schema = Draft202012Validator({"$ref": "#/$defs/Condition", "$defs": {"Condition": CONDITION}})


@given(st.one_of(conditions, malformed_forms, st.builds(lambda a, b: {**a, **b}, leaves, leaves)))
def test_schema_accepts_the_forms_that_the_parser_accepts(form: object) -> None:
    assert schema.is_valid(form) is not isinstance(parse(form), tuple)
