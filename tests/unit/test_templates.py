"""Templates show known values of a customer, escaped for their channel, and can do no harm."""

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.templates import (
    MAX_CHARACTERS,
    RenderError,
    Template,
    TemplateProblem,
    template,
)
from pipeline.model.interaction import FactValue
from tests.support.cases import cases
from tests.support.deciding import (
    Life,
    campaign,
    fates,
    find_rejecting_rules,
    hero,
    offer,
    problems,
    world,
)


def _make(text: str, html: bool = False) -> Template:
    compiled_template = template(text, html)
    assert not isinstance(compiled_template, TemplateProblem), compiled_template
    return compiled_template


@pytest.mark.parametrize(
    ("text", "values", "words"),
    [
        ("{views} of {properties.a.b}", {"views": 3.0, "properties.a.b": "a"}, "3 of a"),
        ("{{ views }} of {{ properties.a.b }}", {"views": 3, "properties.a.b": "a"}, "3 of a"),
        ("{{ traits['a-0'] }}/{{ score.churn }}", {"a-0": 5, "score.churn": 0.25}, "5/0.25"),
        ("{% for a in tags %}{{ loop.index }}{{ a }} {% endfor %}", {"tags": ("a", "b")}, "1a 2b "),
        ("{{ tags }}", {"tags": ("a", "b")}, "a, b"),
        ("{{ name | default('friend') | upper }}", {}, "FRIEND"),
        ("{{ at | date('%d/%m %H', 'Europe/Madrid') }}", {"at": 1_700_000_000_000}, "14/11 23"),
        ("{{ total | number(2) }}", {"total": 3.14159}, "3.14"),
        ("{{ total }}", {"total": 1_234_567.0}, "1234567"),
        ("a { b } {{ '{' }}", {}, "a { b } {"),
    ],
)  # fmt: skip
def test_names_are_replaced_by_known_values(
    text: str, values: dict[str, FactValue], words: str
) -> None:
    assert _make(text).render(values) == words


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("{a} {properties.b}", {"a", "properties.b"}),
        ("{{ a }} {{ b | default('x') }} {{ c | default(d) }}", {"a", "d"}),
        ("{% if a %}{{ a }}{% else %}you{% endif %}", set()),
        ("{% if not a %}you{% else %}{{ a }}{% endif %}", set()),
        ("{% if a is defined and a > 3 %}{{ b }}{% endif %}", {"b"}),
        ("{% if a > 3 %}x{% endif %}", {"a"}),
        ("{{ a if a else 'you' }} {{ b if a else c }}", {"b", "c"}),
        ("{{ a | default('x') }} {{ a }}", {"a"}),
        ("{% for one in a %}{{ one }}{{ b }}{% endfor %}", {"a", "b"}),
        ("{{ a | upper | default('x') }}", {"a"}),
    ],
)
def test_name_is_needed_unless_it_has_a_default_or_is_tested(text: str, needs: set[str]) -> None:
    assert set(_make(text).needs) == needs


@pytest.mark.parametrize("text", ["{name}", "{{ name }}", "{% if name %}{{ name }}{% endif %}"])
def test_values_are_escaped_in_a_page_and_nowhere_else(text: str) -> None:
    values: dict[str, FactValue] = {"name": "<b>&"}
    assert _make(text, html=True).render(values) == "&lt;b&gt;&amp;"
    assert _make(text, html=False).render(values) == "<b>&"


def test_list_is_escaped_in_a_page() -> None:
    assert _make("{{ tags }}", html=True).render({"tags": ("<i>", "b")}) == "&lt;i&gt;, b"


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}",
        "{{ range(10) }}",
        "{{ name.upper() }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ name | center(1000000000) }}",
        "{{ name | safe }}",
        "{{ name | attr('__class__') }}",
        "{% for a in x %}{% for b in y %}{% endfor %}{% endfor %}",
        "{% for a in x recursive %}{% endfor %}",
        "{% set a = 1 %}",
        "{% macro m() %}{% endmacro %}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{{ cycler }}{{ lipsum() }}",
        "{{ open",
        "{% if a %}",
        "{{ a is callable }}",
        "{{ loop.previtem }}{% for a in x %}{{ loop.previtem }}{% endfor %}",
        "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}",
    ],
)
def test_harmful_or_malformed_templates_are_refused(text: str) -> None:
    assert isinstance(template(text, False), TemplateProblem)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("{{ name * 1000000000 }}", {"name": "a"}),
        ("{{ '%0999999999d' % 1 }}", {}),
        ("{{ name % 5 }}", {"name": "%0999999999d"}),
        ("{% for one in tags %}{{ text }}{% endfor %}", {"tags": ("a",) * 5_000, "text": "b" * 99}),
        ("{{ name + 1 }}", {"name": "a"}),
        ("{{ 1 / zero }}", {"zero": 0}),
        ("{{ name | date }}", {"name": "yesterday"}),
        ("{{ at | date('%9999999d') }}", {"at": 5}),
        ("{text}", {"text": "a" * (MAX_CHARACTERS + 1)}),
    ],
)  # fmt: skip
def test_rendering_ends_soon_and_fails_in_one_way(text: str, values: dict[str, FactValue]) -> None:
    compiled_template = _make(text)
    start_s = time.process_time()
    with pytest.raises(RenderError):
        compiled_template.render(values)
    assert time.process_time() - start_s < 1


_pieces = st.sampled_from(
    ["{{", "}}", "{%", "%}", "{", "}", " ", "a", "b", "if", "else", "endif", "for", "in", "endfor",
     "is", "not", "defined", "|", "default", "(", ")", "'", "x", ".", "[", "]", "0", "~", "+", "*",
     "properties", "loop", "upper", "join", "\n"]
)  # fmt: skip
_values = st.dictionaries(
    st.sampled_from(["a", "b", "x", "properties.a"]),
    st.one_of(st.text(max_size=9), st.integers(), st.floats(), st.tuples(st.text(max_size=5))),
)


@settings(max_examples=cases(300), deadline=None)
@given(st.lists(_pieces, max_size=14).map("".join), _values, st.booleans())
def test_any_text_is_a_template_or_refused_and_rendering_fails_with_a_reason_only(
    text: str, values: dict[str, FactValue], html: bool
) -> None:
    compiled_template = template(text, html)
    if isinstance(compiled_template, TemplateProblem):
        return
    with suppress(RenderError):
        assert len(compiled_template.render(values)) <= MAX_CHARACTERS


def _decide(treatment: dict[str, object], traits: tuple[str, ...] = ("name",)) -> Life:
    offers = (offer("best", 9, treatment), offer("next", 5, hero("plain", content={"t": "Hi"})))
    return Life(world(traits=traits, campaigns=[campaign("c", *offers)]))


def test_treatment_that_cannot_be_rendered_falls_with_a_reason() -> None:
    life = _decide(hero("odd", content={"t": "{{ 1 / name }}"}))
    decision = life.interact("Home", 0, ask=["hero"], name=0)
    assert life.treatments() == ["plain"]
    assert fates(decision)["odd"].startswith("content t: ZeroDivisionError")
    life.interact("Home", 1, ask=["hero"], name=4)
    assert life.actions()[0].content == {"t": "0.25"}


def test_treatment_without_a_needed_value_is_not_suitable() -> None:
    life = _decide(hero("hello", content={"t": "Hello {{ name }}"}))
    decision = life.interact("Home", 0, ask=["hero"])
    assert find_rejecting_rules(decision)["hello"] == "suitability/content needs name"
    life.interact("Home", 1, ask=["hero"], name="<Ada>")
    assert life.actions()[0].content == {"t": "Hello &lt;Ada&gt;"}


def test_declared_default_stands_in() -> None:
    life = _decide(hero("hello", content={"t": "Hello {name}"}, defaults={"name": "friend"}))
    life.interact("Home", 0, ask=["hero"])
    assert life.actions()[0].content == {"t": "Hello friend"}


def test_email_is_escaped_where_it_is_a_page_and_its_subject_is_one_line() -> None:
    mail = {
        "treatment": "mail",
        "channel": "email",
        "content": {"subject": "Hi {name}", "html": "<b>{name}</b>", "text": "Hi {name}"},
    }
    life = Life(world(traits=("name",), campaigns=[campaign("c", offer("o", 5, mail))]))
    life.interact("Go", 0, name="<A>\r\nBcc: x")
    assert life.actions()[0].content == {
        "subject": "Hi <A> Bcc: x",
        "html": "<b>&lt;A&gt;\r\nBcc: x</b>",
        "text": "Hi <A>\r\nBcc: x",
    }


def test_unknown_name_is_named_with_its_place_and_remedy() -> None:
    def find(text: str, **parts: object) -> tuple[str, str]:
        treatment = hero("t", content={"title": text}, **parts)
        [problem] = problems(campaigns=[campaign("c", offer("o", 1, treatment))])
        return problem

    title_path = "campaigns/0/offers/0/treatments/0/content/title"
    for text in ("{sesions}", "{{ sesions }}", "{% if sesions > 1 %}x{% endif %}"):
        path, message = find(text)
        assert path == title_path
        assert "unknown trait 'sesions': did you mean 'sessions'?" in message
    assert find("{{ context.colour }}")[0] == title_path
    assert "unexpected" in find("{{ open")[1] or "end of" in find("{{ open")[1]
    path, message = find("{sessions}", defaults={"sesions": "1"})
    assert path == "campaigns/0/offers/0/treatments/0/defaults/sesions"
    assert "sessions" in message
