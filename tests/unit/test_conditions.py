"""Edges of conditions: bounds, absent values, and types that do not match."""

import pytest

from pipeline.conditions import ALWAYS_TRUE, Facts, Problem, compile, parse
from pipeline.model.interaction import Context, Identifier, Interaction, Scalar

NOW_MS = 1_000_000_000
HOUR_MS = 3_600_000


def interaction(**properties: Scalar) -> Interaction:
    return Interaction(
        event_id="e1",
        kind="track",
        name="Order Completed",
        channel="web",
        source="shop",
        occurred_at=NOW_MS,
        received_at=NOW_MS,
        identifiers=(Identifier("email", "ada@example.com"),),
        properties=properties,
        context=Context(locale="es", campaign={"source": "ads"}, consent={"marketing": True}),
    )


def is_met(form: object, traits: dict[str, Scalar] | None = None, **properties: Scalar) -> bool:
    tree = parse(form)
    assert not isinstance(tree, tuple), tree
    segments, new_segments = frozenset({"buyers", "loyal"}), frozenset({"loyal"})
    return compile(tree).test(
        Facts(interaction(**properties), traits or {}, segments, new_segments, NOW_MS)
    )


@pytest.mark.parametrize(
    ("operator", "operand", "value", "expected"),
    [
        ("is", 1, 1.0, True),
        ("is", 1, True, False),
        ("is", True, 1, False),
        ("is", "1", 1, False),
        ("is_not", "a", "b", True),
        ("is_not", "a", "a", False),
        ("in", ["a", 1], 1, True),
        ("in", ["a", 1], True, False),
        ("in", [True], 1, False),
        ("in", ["a"], "b", False),
        ("not_in", ["a"], "b", True),
        ("gt", 5, 5, False),
        ("gte", 5, 5, True),
        ("lt", 5, 5, False),
        ("lte", 5, 5, True),
        ("gt", "2024-01-01", "2024-01-02", True),
        ("gt", 5, "6", False),
        ("lt", 5, "6", False),
        ("gt", "a", 1, False),
        ("gt", 0, True, False),
        ("contains", "oo", "food", True),
        ("contains", "oo", 5, False),
        ("starts_with", "fo", "food", True),
        ("starts_with", "oo", "food", False),
        ("exists", True, "", True),
        ("exists", False, 0, False),
        ("within", "1h", NOW_MS, True),
        ("within", "1h", NOW_MS + 1, False),
        ("within", "1h", NOW_MS - HOUR_MS + 1, True),
        ("within", "1h", NOW_MS - HOUR_MS, False),
        ("older_than", "1h", NOW_MS - HOUR_MS, True),
        ("older_than", "1h", NOW_MS - HOUR_MS + 1, False),
        ("within", "1h", str(NOW_MS), False),
        ("older_than", "1h", True, False),
    ],
)
def test_operator_compares_traits_and_properties_alike(
    operator: str, operand: object, value: Scalar, expected: bool
) -> None:
    assert is_met({"trait": "t", operator: operand}, {"t": value}) is expected
    assert is_met({"property": "t", operator: operand}, t=value) is expected


@pytest.mark.parametrize(
    ("operator", "operand", "expected"),
    [
        ("is", "a", False),
        ("is_not", "a", True),
        ("in", ["a"], False),
        ("not_in", ["a"], True),
        ("gt", 0, False),
        ("lte", 0, False),
        ("contains", "a", False),
        ("starts_with", "a", False),
        ("exists", True, False),
        ("exists", False, True),
        ("within", "1h", False),
        ("older_than", "1h", False),
        ("is", {"trait": "also"}, False),
        ("is_not", {"trait": "also"}, True),
    ],
)
def test_missing_value_fits_absence_and_negations_only(
    operator: str, operand: object, expected: bool
) -> None:
    assert is_met({"trait": "t", operator: operand}) is expected
    assert is_met({"trait": "t", operator: operand}, {"t": None}) is expected


def test_two_traits_are_compared_if_of_one_type() -> None:
    condition = {"trait": "cart", "gt": {"trait": "bought"}}
    assert is_met(condition, {"cart": 2, "bought": 1})
    assert not is_met(condition, {"cart": 1, "bought": 1})
    assert not is_met(condition, {"cart": 1})
    assert not is_met(condition, {"cart": 1, "bought": "0"})
    assert is_met({"property": "total", "gte": {"trait": "usual"}}, {"usual": 10}, total=10)


def test_several_operators_must_all_hold() -> None:
    condition = {"trait": "age", "gte": 18, "lt": 65}
    assert is_met(condition, {"age": 18})
    assert not is_met(condition, {"age": 65})


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"name": "Order Completed"}, True),
        ({"name": ["A", "Order Completed"]}, True),
        ({"name": "order completed"}, False),
        ({"kind": "track", "channel": "web", "source": "shop"}, True),
        ({"kind": "track", "channel": "pos"}, False),
        ({"event": "name", "starts_with": "Order"}, True),
        ({"context": "locale", "is": "es"}, True),
        ({"context": "campaign.source", "is": "ads"}, True),
        ({"context": "consent.marketing", "is": True}, True),
        ({"context": "consent.other", "exists": False}, True),
        ({"segment": "buyers"}, True),
        ({"segment": "others"}, False),
        ({"entered": "loyal"}, True),
        ({"entered": "buyers"}, False),
        ({"not": {"segment": "others"}}, True),
        ({"all": [{"segment": "buyers"}, {"segment": "loyal"}, {"segment": "others"}]}, False),
        ({"any": [{"segment": "x"}, {"segment": "y"}, {"segment": "loyal"}]}, True),
        ({"any": [{"segment": "x"}, {"segment": "y"}, {"segment": "z"}]}, False),
    ],
)
def test_each_form_is_evaluated_by_its_definition(form: object, expected: bool) -> None:
    assert is_met(form) is expected


def test_without_an_interaction_its_fields_are_missing() -> None:
    facts = Facts(None, {}, frozenset(), frozenset(), NOW_MS)
    for form in ({"name": "A"}, {"property": "p", "exists": True}, {"context": "ip", "is": "x"}):
        tree = parse(form)
        assert not isinstance(tree, tuple)
        assert not compile(tree).test(facts)
        assert compile(tree).reads.uses_interaction


def test_always_holds_without_an_interaction() -> None:
    assert ALWAYS_TRUE.test(Facts(None, {}, frozenset(), frozenset(), NOW_MS))


def test_compiled_condition_has_its_reads_and_names() -> None:
    tree = parse(
        {
            "all": [
                {"any": [{"name": ["A", "B"]}, {"name": "C"}]},
                {"trait": "x", "older_than": "1h", "lt": {"property": "y"}},
                {"not": {"segment": "s"}},
                {"entered": "t"},
            ]
        }
    )
    assert not isinstance(tree, tuple)
    condition = compile(tree)
    assert condition.names == {"A", "B", "C"}
    assert condition.reads.traits == {"x"}
    assert condition.reads.properties == {"y"}
    assert (condition.reads.segments, condition.reads.entered_segments) == ({"s"}, {"t"})
    assert condition.reads.uses_clock


def test_negated_name_does_not_bound_the_names() -> None:
    tree = parse({"not": {"name": "A"}})
    assert not isinstance(tree, tuple)
    assert compile(tree).names is None


@pytest.mark.parametrize(
    ("form", "path", "words"),
    [
        ({"trat": "age", "gt": 1}, ("trat",), "did you mean 'trait'?"),
        ({"trait": "age"}, ("trait",), "needs an operator"),
        ({"trait": "age", "gt": None}, ("gt",), "exists: false"),
        ({"trait": "age", "gt": True}, ("gt",), "numbers or texts"),
        ({"trait": "age", "is": [1]}, ("is",), "use in"),
        ({"trait": "age", "in": 1}, ("in",), "list"),
        ({"trait": "age", "within": 60}, ("within",), "30s, 5m, 12h, 7d"),
        ({"trait": "age", "exists": "yes"}, ("exists",), "true or false"),
        ({"trait": "a b", "is": 1}, ("trait",), "not a name"),
        ({"trait": "a", "property": "b", "is": 1}, (), "two conditions"),
        ({"event": "Order Completed", "is": 1}, ("event",), "{name: Order Completed}"),
        ({"name": "A", "is": 1}, ("is",), "{event: name, ...}"),
        ({"kind": "trck"}, ("kind",), "did you mean 'track'?"),
        ({"context": "loc", "is": 1}, ("context",), "locale"),
        ({"segment": "a", "name": "b"}, ("name",), "list under all"),
        ({"all": []}, ("all",), "one or more"),
        ({"any": {"name": "a"}}, ("any",), "list"),
        ({"not": [{"name": "a"}]}, ("not",), "mapping"),
        ("age > 18", (), "mapping"),
        ({}, (), "mapping"),
        (None, (), "mapping"),
    ],
)
def test_wrong_condition_is_refused_at_its_place(
    form: object, path: tuple[str, ...], words: str
) -> None:
    problems = parse(form)
    assert isinstance(problems, tuple)
    assert problems[0].path == path
    assert words in problems[0].message


def test_every_wrong_part_is_reported() -> None:
    problems = parse({"all": [{"name": 1}, {"name": "fine"}, {"any": [{}, {"trait": "x"}]}]})
    assert isinstance(problems, tuple)
    assert [problem.path for problem in problems] == [
        ("all", 0, "name"),
        ("all", 2, "any", 0),
        ("all", 2, "any", 1, "trait"),
    ]


def test_depth_is_bounded() -> None:
    form: dict[str, object] = {"name": "A"}
    for _ in range(100_000):
        form = {"not": form}
    problems = parse(form)
    assert isinstance(problems, tuple)
    assert isinstance(problems[0], Problem)
    assert "deeper" in problems[0].message


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (
            {"sequence": [{"name": "a"}], "within": "1h"},
            "a sequence takes a list of two or more conditions",
        ),
        (
            {"sequence": [{"name": "a"}, {"name": "b"}]},
            "within is missing: a duration such as 2h",
        ),
        (
            {"absence": {"name": "a"}, "for": "1h"},
            "absence needs after: the interaction since which none may have come",
        ),
        (
            {"absence": {"name": "a"}, "after": {"name": "b"}, "within": "1h"},
            "absence stands alone: put it and within in a list under all",
        ),
    ],
)
def test_sequence_needs_its_parts(form: object, words: str) -> None:
    problems = parse(form)
    assert isinstance(problems, tuple)
    assert [problem.message for problem in problems] == [words]
