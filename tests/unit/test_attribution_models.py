"""Attribution models against closed forms and against solutions by other means."""

import math
import random
from collections.abc import Sequence
from itertools import chain

import numpy as np
import pytest

from pipeline.insights.attribution import (
    MODELS,
    TIME_DECAY,
    Attribution,
    ModelOptions,
    attribute,
    fit,
)
from pipeline.insights.markov import TooLargeError, Windows, removal_effects
from pipeline.insights.order import choose_order, order_scores
from pipeline.insights.paths import NO_TOUCH, PathCounts, PathRow, count_paths
from pipeline.insights.resampling import Customers, bootstrap
from pipeline.insights.shapley import NoWorthError
from tests.support.attribution import (
    channels_of,
    removal_effects_by_matrix,
    shapley_values_by_permutations,
)

SHARES = (0.1, 0.2, 0.3, 0.7, 1 / 3)
PATH_MODELS = [model for model in MODELS if model != TIME_DECAY]

# Example as in Anderl et al.: C1 > C2 > C3 converts, C1 does not, C2 > C3 does not.
TEXTBOOK_ROWS = [
    PathRow(("C1", "C2", "C3"), 1.0, 10.0),
    PathRow(("C1",), 0.0, 0.0, 1.0),
    PathRow(("C2", "C3"), 0.0, 0.0, 1.0),
]


def _random_rows(seed: int, channel_count: int = 5, count: int = 60) -> list[PathRow]:
    chance = random.Random(seed)
    names = [f"c{index}" for index in range(channel_count)]
    rows = []
    for _ in range(count):
        path = tuple(chance.choice(names) for _ in range(chance.randint(1, 7)))
        conversions = float(chance.randint(0, 3))
        value = conversions * chance.uniform(1, 50)
        rows.append(PathRow(path, conversions, value, float(chance.randint(0, 4))))
    return rows


def _paths_of(rows: Sequence[PathRow]) -> PathCounts:
    """Return the rows as paths of one touch each, also where several have the same path."""
    size = len(rows)
    return PathCounts(
        channels=("a", "b"),
        offsets=np.arange(size + 1),
        codes=np.array([("a", "b").index(row.path[0]) for row in rows]),
        conversions=np.array([row.conversions for row in rows]),
        values=np.array([row.value for row in rows]),
        nulls=np.zeros(size),
    )


def _credits(model: str, rows: Sequence[PathRow], **options: object) -> dict[str, float]:
    attribution = attribute(model, ModelOptions(**options), count_paths(rows))  # type: ignore[arg-type]
    return {channel.channel: channel.conversions for channel in attribution.channels}


def _values(attribution: Attribution) -> dict[str, float]:
    return {channel.channel: channel.value for channel in attribution.channels}


@pytest.mark.parametrize("seed", range(20))
def test_equal_credits_are_ordered_by_channel_in_any_order_of_addition(seed: int) -> None:
    rows = [PathRow(path, share, 7 * share) for path in (("b",), ("a",)) for share in SHARES]
    random.Random(seed).shuffle(rows)
    attribution = attribute("linear", ModelOptions(), _paths_of(rows))
    assert [channel.channel for channel in attribution.channels] == ["a", "b"]


def test_removal_effects_equal_those_of_the_textbook_chain() -> None:
    # P(conversion) = ⅓: start → C1 ⅔, C2 ⅓; C1 → C2 ½; C2 → C3; C3 → conversion ½.
    effects = removal_effects(count_paths(TEXTBOOK_ROWS), 1)
    assert effects.conversions == pytest.approx([0.5, 1.0, 1.0], abs=1e-12)
    credit = _credits("markov", TEXTBOOK_ROWS)
    assert credit == pytest.approx({"C1": 0.2, "C2": 0.4, "C3": 0.4}, abs=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("nulls", [True, False])
def test_removal_effects_equal_those_of_whole_matrices(order: int, seed: int, nulls: bool) -> None:
    rows = _random_rows(seed)
    counted_rows = (
        rows if nulls else [PathRow(row.path, row.conversions, row.value) for row in rows]
    )
    attribution = attribute("markov", ModelOptions(order=order, nulls=nulls), count_paths(rows))
    expected = removal_effects_by_matrix(counted_rows, order, lambda row: row.conversions)
    value_effects = removal_effects_by_matrix(counted_rows, order, lambda row: row.value)
    effects = {channel.channel: channel.removal_effect for channel in attribution.channels}
    assert effects == pytest.approx(expected, abs=1e-10)
    total = sum(value_effects.values())
    shares = {channel: effect / total for channel, effect in value_effects.items()}
    assert {
        channel: value / attribution.value for channel, value in _values(attribution).items()
    } == (pytest.approx(shares, abs=1e-10))


def test_consecutive_identical_states_count_as_one() -> None:
    # a a a b: at order 1 as a b; at order 2 as (a a) (a b), which is not a b.
    repeat_rows = [PathRow(("a", "a", "a", "b"), 1.0, 1.0, 2.0), PathRow(("b", "b"), 2.0, 2.0, 1.0)]
    single_rows = [PathRow(("a", "b"), 1.0, 1.0, 2.0), PathRow(("b",), 2.0, 2.0, 1.0)]
    first_order_effects = [
        removal_effects(count_paths(rows), 1).conversions for rows in (repeat_rows, single_rows)
    ]
    assert first_order_effects[0] == pytest.approx(first_order_effects[1], abs=1e-15)
    expected = removal_effects_by_matrix(repeat_rows, 2, lambda row: row.conversions)
    effects = removal_effects(count_paths(repeat_rows), 2).conversions
    assert effects == pytest.approx(list(expected.values()), abs=1e-12)


@pytest.mark.parametrize("model", PATH_MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_credits_add_up(model: str, seed: int) -> None:
    rows = [*_random_rows(seed), PathRow((), 3.0, 7.5, 2.0)]
    attribution = attribute(model, ModelOptions(order=2), count_paths(rows))
    assert attribution.conversions == sum(row.conversions for row in rows)
    for total, part in ((attribution.conversions, "conversions"), (attribution.value, "value")):
        parts = [getattr(channel, part) for channel in attribution.channels]
        assert math.fsum(parts) == pytest.approx(total, rel=1e-12)
        assert all(math.isfinite(credit) for credit in parts)


@pytest.mark.parametrize("model", PATH_MODELS)
def test_only_channel_gets_all_credit(model: str) -> None:
    rows = [PathRow(("mail",), 2.0, 20.0, 5.0), PathRow(("mail", "mail"), 1.0, 4.0)]
    attribution = attribute(model, ModelOptions(), count_paths(rows))
    assert _values(attribution) == pytest.approx({"mail": 24.0})
    assert attribution.channels[0].conversions == pytest.approx(3.0)
    assert attribution.channels[0].removal_effect in (None, pytest.approx(1.0))


@pytest.mark.parametrize("model", PATH_MODELS)
def test_paths_that_never_convert_credit_nobody(model: str) -> None:
    rows = [PathRow(("a", "b"), 0.0, 0.0, 4.0), PathRow(("b",), 0.0, 0.0, 0.0)]
    attribution = attribute(model, ModelOptions(), count_paths(rows))
    assert (attribution.conversions, attribution.value) == (0.0, 0.0)
    assert [channel.conversions for channel in attribution.channels] == [0.0, 0.0]
    assert [channel.removal_effect for channel in attribution.channels] == [None, None]


@pytest.mark.parametrize("model", PATH_MODELS)
def test_no_paths_at_all_have_no_channels(model: str) -> None:
    attribution = attribute(model, ModelOptions(), count_paths([]))
    assert (attribution.conversions, attribution.value, attribution.channels) == (0.0, 0.0, ())


@pytest.mark.parametrize("model", PATH_MODELS)
def test_conversions_without_touch_are_no_channels(model: str) -> None:
    attribution = attribute(
        model, ModelOptions(), count_paths([PathRow((), 2.0, 9.0, 1.0), *TEXTBOOK_ROWS])
    )
    no_touch = next(channel for channel in attribution.channels if channel.channel == NO_TOUCH)
    assert (no_touch.conversions, no_touch.value) == (2.0, 9.0)
    assert no_touch.removal_effect is None
    plain_attribution = attribute(model, ModelOptions(), count_paths(TEXTBOOK_ROWS))
    credit = {
        channel.channel: channel.conversions
        for channel in attribution.channels
        if channel != no_touch
    }
    assert credit == pytest.approx(
        {channel.channel: channel.conversions for channel in plain_attribution.channels}
    )


def test_heuristics_on_one_path_of_each_length() -> None:
    rows = [
        PathRow(("a",), 1.0),
        PathRow(("a", "b"), 10.0),
        PathRow(("c", "a", "b", "Direct"), 100.0),
        PathRow(("direct",), 1000.0),
    ]
    zero_credits = {"a": 0.0, "b": 0.0, "c": 0.0, "Direct": 0.0, "direct": 0.0}
    expected = {
        "first": {"a": 11.0, "c": 100.0, "direct": 1000.0},
        "last": {"a": 1.0, "b": 10.0, "Direct": 100.0, "direct": 1000.0},
        "last-non-direct": {"a": 1.0, "b": 110.0, "direct": 1000.0},
        "linear": {"a": 31.0, "b": 30.0, "c": 25.0, "Direct": 25.0, "direct": 1000.0},
        "position": {"a": 16.0, "b": 15.0, "c": 40.0, "Direct": 40.0, "direct": 1000.0},
    }
    for model, credit in expected.items():
        assert _credits(model, rows) == pytest.approx({**zero_credits, **credit}), model


@pytest.mark.parametrize("seed", range(4))
def test_simplified_shapley_equals_all_orders_of_joining(seed: int) -> None:
    rows = _random_rows(seed)

    def worth(coalition: frozenset[str]) -> float:
        return sum(row.conversions for row in rows if set(row.path) <= coalition)

    expected = shapley_values_by_permutations(channels_of(rows), worth)
    assert _credits("shapley", rows) == pytest.approx(expected, abs=1e-9)
    assert _credits("shapley-full", rows) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_full_game_by_rate_equals_all_orders_of_joining(seed: int) -> None:
    rows = _random_rows(seed, channel_count=4)

    def worth(coalition: frozenset[str]) -> float:
        rows_within = [row for row in rows if set(row.path) <= coalition]
        path_total = sum(row.conversions + row.nulls for row in rows_within)
        return sum(row.conversions for row in rows_within) / path_total if path_total else 0.0

    values = shapley_values_by_permutations(channels_of(rows), worth)
    total = sum(row.conversions for row in rows)
    expected = {name: total * value / sum(values.values()) for name, value in values.items()}
    assert _credits("shapley-full", rows, worth="rate") == pytest.approx(expected, abs=1e-9)


def test_full_game_by_rate_is_refused_where_touches_add_nothing() -> None:
    rows = [PathRow((), 1.0), PathRow(("a",), 1.0, 0.0, 9.0)]
    with pytest.raises(NoWorthError, match="no higher rate of conversions"):
        _credits("shapley-full", rows, worth="rate")


def test_full_game_takes_twelve_channels() -> None:
    longest_path = [PathRow(tuple(f"c{index}" for index in range(12)), 12.0)]
    assert _credits("shapley-full", longest_path) == pytest.approx(
        {f"c{i}": 1.0 for i in range(12)}
    )
    with pytest.raises(TooLargeError, match="at most 12"):
        _credits("shapley-full", [PathRow(tuple(f"c{index}" for index in range(13)), 1.0)])


@pytest.mark.parametrize("seed", range(4))
def test_shao_li_equals_its_formula_path_by_path(seed: int) -> None:
    rows = _random_rows(seed)

    def rate(*channels: str) -> float:
        rows_within = [row for row in rows if set(channels) <= set(row.path)]
        path_total = sum(row.conversions + row.nulls for row in rows_within)
        return sum(row.conversions for row in rows_within) / path_total if path_total else 0.0

    expected = dict.fromkeys(channels_of(rows), 0.0)
    for row in rows:
        path_channels = sorted(set(row.path))
        weights = {}
        for channel in path_channels:
            other_channels = [
                other_channel for other_channel in path_channels if other_channel != channel
            ]
            gains = [
                rate(channel, other_channel) - rate(channel) - rate(other_channel)
                for other_channel in other_channels
            ]
            gain = sum(gains) / (2 * len(gains)) if gains else 0.0
            weights[channel] = max(rate(channel) + gain, 0.0)
        total = sum(weights.values())
        for channel in path_channels:
            share = weights[channel] / total if total else 1 / len(path_channels)
            expected[channel] += share * row.conversions
    assert _credits("shao-li", rows) == pytest.approx(expected, abs=1e-9)


def test_journey_credit_of_a_markov_model_follows_removal_effects() -> None:
    # The only converting path has effects ½, 1, 1: it is divided 1 : 2 : 2.
    assert _credits("markov-journey", TEXTBOOK_ROWS) == pytest.approx(
        {"C1": 0.2, "C2": 0.4, "C3": 0.4}
    )
    rows = [*TEXTBOOK_ROWS, PathRow(("C1",), 4.0)]
    assert _credits("markov-journey", rows)["C1"] > 4.0


def test_large_chains_agree_with_whole_matrices() -> None:
    # The chain has more states than are factorised in one block.
    chance = random.Random(3)
    names = [f"c{index}" for index in range(8)]
    rows = [
        PathRow(
            tuple(chance.choice(names) for _ in range(6)), 1.0, 2.0, float(chance.randint(0, 5))
        )
        for _ in range(700)
    ]
    assert Windows.of(count_paths(rows), 4).count > 1_500
    effects = removal_effects(count_paths(rows), 4).conversions
    expected = removal_effects_by_matrix(rows, 4, lambda row: row.conversions)
    assert effects == pytest.approx(list(expected.values()), abs=1e-10)


def test_path_of_a_hundred_thousand_channels_is_credited() -> None:
    path = tuple(f"c{index:06}" for index in range(100_000))
    attribution = attribute("markov", ModelOptions(), count_paths([PathRow(path, 1.0, 5.0, 3.0)]))
    assert {channel.removal_effect for channel in attribution.channels} == {1.0}
    assert attribution.channels[0].conversions == pytest.approx(1e-5)


def test_circles_of_too_many_channels_are_refused() -> None:
    names = [f"c{index:06}" for index in range(5_000)]
    circle = [
        PathRow((name, successor), 1.0)
        for name, successor in zip(names, [*names[1:], names[0]], strict=True)
    ]
    with pytest.raises(TooLargeError, match="5,000 channels lead to each other"):
        removal_effects(count_paths(circle), 1)


def test_order_of_the_generating_chain_is_found() -> None:
    # The next channel depends on the last one, or on whether the last two are both b.
    def generate_rows(order: int) -> list[PathRow]:
        chance = random.Random(order)
        rows = []
        for _ in range(4_000):
            path = [chance.choice("ab")]
            while chance.random() < 0.8:
                previous_channels = path[-order:]
                likely_channel = "ab"[
                    len(previous_channels) == order
                    and previous_channels[0] == previous_channels[-1] == "ab"[order - 1]
                ]
                path.append(likely_channel if chance.random() < 0.9 else chance.choice("ab"))
            rows.append(PathRow(tuple(path), float(chance.random() < 0.3), 0.0, 1.0))
        return rows

    assert choose_order(count_paths(generate_rows(1)), seed=0) == 1
    assert choose_order(count_paths(generate_rows(2)), seed=0) == 2
    scores = order_scores(count_paths(generate_rows(2)), seed=0)
    assert all(math.isfinite(score) and score < 0 for score in scores.values())


def test_bootstrap_intervals_equal_theory() -> None:
    # First-touch conversions of a channel are binomial: σ = √(n p (1 − p)).
    rows = [PathRow(("a",), 300.0, 300.0, 400.0), PathRow(("b",), 100.0, 100.0, 200.0)]
    paths = count_paths(rows)
    model_fit = fit("first", ModelOptions(), paths)
    interval = bootstrap(paths, Customers.of_paths(paths), model_fit, 2_000, seed=1)
    assert interval is not None
    for index, successes in enumerate((300.0, 100.0)):
        sigma = math.sqrt(successes * (1 - successes / 1000))
        assert interval.low[index] == pytest.approx(successes - 1.96 * sigma, abs=0.25 * sigma)
        assert interval.high[index] == pytest.approx(successes + 1.96 * sigma, abs=0.25 * sigma)


def test_bootstrap_draws_customers_not_paths() -> None:
    # Ten customers with a hundred equal journeys each: the interval is that of ten observations.
    paths = count_paths([PathRow(("a",), 500.0), PathRow(("b",), 500.0)])
    conversions = np.eye(2) * 100.0
    customers = Customers(np.array([5.0, 5.0]), conversions, np.zeros((2, 2)))
    model_fit = fit("last", ModelOptions(), paths)
    wide_interval = bootstrap(paths, customers, model_fit, 500, seed=0)
    narrow_interval = bootstrap(paths, Customers.of_paths(paths), model_fit, 500, seed=0)
    assert wide_interval is not None
    assert narrow_interval is not None
    width, naive_width = (
        interval.high[0] - interval.low[0] for interval in (wide_interval, narrow_interval)
    )
    assert 5 * naive_width < width <= 1_000


@pytest.mark.parametrize("rows", [[], [PathRow(("a",), 1.0)], [PathRow(("a",), 2.5, 0.0, 1.5)]])
def test_interval_needs_customers_to_draw(rows: list[PathRow]) -> None:
    paths = count_paths(rows)
    model_fit = fit("linear", ModelOptions(), paths)
    assert bootstrap(paths, Customers.of_paths(paths), model_fit, 50, seed=0) is None


def test_rows_of_the_same_path_add_up() -> None:
    paths = count_paths([*TEXTBOOK_ROWS, *TEXTBOOK_ROWS])
    assert len(paths.conversions) == len(TEXTBOOK_ROWS)
    assert paths.conversions.sum() == 2 * sum(row.conversions for row in TEXTBOOK_ROWS)
    assert list(paths.codes) == list(chain([0, 1, 2], [0], [1, 2]))
