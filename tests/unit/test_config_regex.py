"""Patterns of users run in linear time on any text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import model
from pipeline.config.identity import identity_rules
from pipeline.config.regex import Pattern, PatternProblem, pattern
from pipeline.model.interaction import Identifier


@pytest.mark.parametrize("text", ["([a-z0-9]+-?)+", "(a|a)*b", "(a*)*b", "(.*,){20}x", "(x+x+)+y"])
def test_patterns_that_make_backtracking_explode_take_no_time(text: str) -> None:
    identity = model.Identity((model.Namespace("cookie"),), blocked_patterns=(text,))
    rules = identity_rules(identity)
    begin_s = time.process_time()
    for letter in "ax":
        rules.normalise(Identifier("cookie", letter * 1_000 + "!"))
    assert time.process_time() - begin_s < 1.0


@pytest.mark.parametrize(
    ("text", "blocked_text", "other_text"),
    [
        ("test-.*", "TEST-1", "attest-1"),
        (r"\d{1,3}", "007", "1234"),
        ("ñandú", "ÑANDÚ", "nandu"),
        ("a|b", "B", "ab"),
    ],
)
def test_pattern_blocks_whole_values_in_any_case(
    text: str, blocked_text: str, other_text: str
) -> None:
    compiled_pattern = pattern(text)
    assert isinstance(compiled_pattern, Pattern)
    assert compiled_pattern.matches(blocked_text)
    assert not compiled_pattern.matches(other_text)


@pytest.mark.parametrize(
    "text", ["(?=a)b", r"(a)\1", "(?<!x)y", "[a", "(", "a{1001}", "((a{100}){100}){100}", "\ud83d",
             "a" * 1_001]
)  # fmt: skip
def test_patterns_beyond_linear_time_are_refused_with_a_reason(text: str) -> None:
    problem = pattern(text)
    assert isinstance(problem, PatternProblem)
    assert len(problem.reason) > 20


@given(st.text(max_size=30), st.text(max_size=50))
def test_any_pattern_is_refused_or_runs(text: str, value: str) -> None:
    compiled_pattern = pattern(text)
    if isinstance(compiled_pattern, Pattern):
        assert compiled_pattern.matches(value) in (True, False)


def test_lone_surrogate_is_matched_as_a_replacement() -> None:
    compiled_pattern = pattern("a.")
    assert isinstance(compiled_pattern, Pattern)
    assert compiled_pattern.matches("a\ud83d")
