"""Attribution equals the published results of other implementations on their own examples.

The examples are those of their documentation and tests:

* `mta` (Korostil, MIT), github.com/eeghor/mta, tests/conftest.py, test_heuristic_models.py,
  test_shapley.py;
* `markov-model-attribution` (Nelson), github.com/jerednel/markov-chain-attribution, readme.md: it
  has the example of Bryl, Marketing Multi-Channel Attribution Model with R (2016);
* Gorb, github.com/tomgorb/misc, Data Driven Attribution.ipynb: the full game by its definition.
"""

from collections.abc import Mapping, Sequence

import pytest

from pipeline.insights.attribution import ModelOptions, attribute
from pipeline.insights.paths import PathRow, count_paths
from tests.support.attribution import channels_of

MTA = (
    ("direct", 2, 1),
    ("search > email", 3, 2),
    ("search > social > email", 5, 4),
)
MTA_REPEATS = (("a > a > b", 6, 0),)
MTA_MIX = (("a", 4, 0), ("a > b", 6, 0))
MTA_FOUR = (("a > b > c > d", 10, 0),)
BRYL = (("C1 > C2 > C3", 1, 0), ("C1", 0, 1), ("C2 > C3", 0, 1))
GORB = (
    ("F", 20, 0),
    ("O", 10, 0),
    ("L", 17, 0),
    ("O > F", 17, 0),
    ("L > F", 30, 0),
    ("F > O > L", 6, 0),
)


def _rows(table: Sequence[tuple[str, int, int]]) -> list[PathRow]:
    return [
        PathRow(tuple(path.split(" > ")), float(conversions), float(conversions), float(nulls))
        for path, conversions, nulls in table
    ]


@pytest.mark.parametrize(
    ("model", "table", "expected_values"),
    [
        ("first", MTA, {"direct": 2, "search": 8}),
        ("last", MTA, {"direct": 2, "email": 8}),
        ("linear", MTA, {"direct": 2, "search": 19 / 6, "email": 19 / 6, "social": 5 / 3}),
        ("position", MTA, {"direct": 2, "search": 3.5, "email": 3.5, "social": 1}),
        ("linear", MTA_REPEATS, {"a": 4, "b": 2}),
        ("shapley", MTA_MIX, {"a": 7, "b": 3}),
        ("shapley-full", MTA_MIX, {"a": 7, "b": 3}),
        ("shapley-full", MTA_FOUR, {"a": 2.5, "b": 2.5, "c": 2.5, "d": 2.5}),
        ("markov", BRYL, {"C1": 0.2, "C2": 0.4, "C3": 0.4}),
        ("last", BRYL, {"C3": 1}),
        ("shapley-full", GORB, {"F": 45.5, "O": 20.5, "L": 34}),
        ("shapley", GORB, {"F": 45.5, "O": 20.5, "L": 34}),
    ],
)
def test_credits_are_the_published_ones(
    model: str, table: Sequence[tuple[str, int, int]], expected_values: Mapping[str, float]
) -> None:
    rows = _rows(table)
    attribution = attribute(model, ModelOptions(), count_paths(rows))
    expected = {channel: expected_values.get(channel, 0.0) for channel in channels_of(rows)}
    assert {
        channel.channel: channel.conversions for channel in attribution.channels
    } == pytest.approx(expected)
    assert {channel.channel: channel.value for channel in attribution.channels} == pytest.approx(
        expected
    )


def test_removal_effects_are_the_published_ones() -> None:
    attribution = attribute("markov", ModelOptions(), count_paths(_rows(BRYL)))
    effects = {channel.channel: channel.removal_effect for channel in attribution.channels}
    assert effects == pytest.approx({"C1": 0.5, "C2": 1.0, "C3": 1.0})
