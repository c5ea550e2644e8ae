"""Attribution: the credit of each channel for conversions and their value, by a chosen model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from pipeline.insights import heuristics, markov, shapley
from pipeline.insights.paths import NO_TOUCH, Floats, PathCounts, sum_by
from pipeline.insights.ranking import rank_key

Scope: TypeAlias = Literal["global", "journey"]
"""Scope of a credit: global credit divides all conversions at once by a property of the channels;
journey credit divides each path's conversions among its own touches."""

MODELS: Final[dict[str, Scope]] = {
    "first": "journey",
    "last": "journey",
    "last-non-direct": "journey",
    "linear": "journey",
    "position": "journey",
    "time-decay": "journey",
    "markov": "global",
    "markov-journey": "journey",
    "shapley": "journey",
    "shapley-full": "global",
    "shao-li": "journey",
}
TIME_DECAY: Final = "time-decay"
"""Model that needs the times of touches, which paths do not have."""

_SWEEP_COUNT: Final = 50
"""Number of sweeps over the states for each channel above order 1, by which the effort is
estimated."""

WITH_ORDER: Final = frozenset({"markov", "markov-journey"})
"""Models that have an order."""


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Options of models; `nulls`: whether the Markov models include paths that never converted;
    `direct`: channels that `last-non-direct` passes over; `worth`: of the full Shapley game."""

    order: int = 1
    nulls: bool = True
    direct: frozenset[str] = heuristics.DIRECT
    worth: shapley.Worth = "conversions"


@dataclass(frozen=True, slots=True, eq=False)
class Credits:
    """Credits by channel; removal effects are NaN where the model has none, or where nothing
    converts."""

    conversions: Floats
    values: Floats
    removal_effects: Floats


@dataclass(frozen=True, slots=True)
class ChannelCredit:
    """Credit of one channel; `low` and `high` bound its conversions with 95 % confidence."""

    channel: str
    conversions: float
    value: float
    removal_effect: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Attribution:
    """Answer of `kairos insights attribution`; the channels' credits add up to the totals."""

    model: str
    order: int | None
    conversions: float
    value: float
    channels: tuple[ChannelCredit, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """Interval of each channel's conversions."""

    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Model prepared for certain paths: `credit` takes the paths' numbers of occurrences and
    computes only the part that depends on them; `effort` is roughly its number of operations."""

    credit: Callable[[PathCounts], Credits]
    effort: int


def fit(model: str, options: ModelOptions, paths: PathCounts) -> Fit:
    """Prepare a model for paths. Raises TooLargeError."""
    touch_count = len(paths.codes) + len(paths.channels)
    if model in WITH_ORDER:
        windows = markov.Windows.of(paths, options.order)
        credit = _credit_by_markov if model == "markov" else _credit_journeys_by_markov
        state_count = (
            len(paths.channels) ** 2 if options.order == 1 else _SWEEP_COUNT * windows.count
        )
        effort = touch_count + state_count * len(paths.channels)
        return Fit(lambda counts: credit(counts, windows, options), effort)
    if model == "shapley-full":
        player_count = min(len(paths.channels), shapley.MAX_PLAYERS)
        return Fit(
            lambda counts: _credit_globally(
                counts, *shapley.full_shapley_shares(counts, options.worth)
            ),
            touch_count + player_count * 2**player_count,
        )
    if model == "shapley":
        sets, shares = shapley.simplified_shapley_shares(paths)
        return Fit(lambda counts: _credit_sets(counts, sets, shares), touch_count)
    if model == "shao-li":
        pair_count = int((paths.lengths.astype(np.float64) ** 2).sum())
        return Fit(lambda counts: _credit_sets(counts, *shapley.shao_li(counts)), pair_count)
    rule = _rule(model, options)(paths)
    return Fit(lambda counts: _credit_touches(counts, rule), touch_count)


def attribute(
    model: str, options: ModelOptions, paths: PathCounts, interval: Interval | None = None
) -> Attribution:
    """Credit every channel; the most credited come first."""
    credits = fit(model, options, paths).credit(paths)
    order = options.order if model in WITH_ORDER else None
    return assemble(model, order, paths, credits, interval)


def assemble(
    model: str,
    order: int | None,
    paths: PathCounts,
    credits: Credits,
    interval: Interval | None,
) -> Attribution:
    """Return the result in plain numbers; conversions without any touch get a row of their own."""
    channels = [
        ChannelCredit(
            channel,
            float(credits.conversions[index]),
            float(credits.values[index]),
            _none_if_nan(credits.removal_effects[index]),
            _none_if_nan(interval.low[index]) if interval else None,
            _none_if_nan(interval.high[index]) if interval else None,
        )
        for index, channel in enumerate(paths.channels)
    ]
    is_touchless = paths.lengths == 0
    if paths.conversions[is_touchless].any():
        conversions = float(paths.conversions[is_touchless].sum())
        channels.append(
            ChannelCredit(NO_TOUCH, conversions, float(paths.values[is_touchless].sum()))
        )
    channels.sort(
        key=lambda channel: (
            -rank_key(channel.conversions),
            -rank_key(channel.value),
            channel.channel,
        )
    )
    return Attribution(
        model,
        order,
        conversions=float(paths.conversions.sum()),
        value=float(paths.values.sum()),
        channels=tuple(channels),
    )


def _none_if_nan(number: float) -> float | None:
    return None if np.isnan(number) else float(number)


def _rule(model: str, options: ModelOptions) -> heuristics.ShareRule:
    rules: dict[str, heuristics.ShareRule] = {
        "first": heuristics.first_touch,
        "last": heuristics.last_touch,
        "last-non-direct": heuristics.last_non_direct(options.direct),
        "linear": heuristics.equal_shares,
        "position": heuristics.position_based,
    }
    return rules[model]


def _credit_touches(paths: PathCounts, shares: Floats) -> Credits:
    owners = paths.owners
    return Credits(
        sum_by(paths.codes, shares * paths.conversions[owners], len(paths.channels)),
        sum_by(paths.codes, shares * paths.values[owners], len(paths.channels)),
        np.full(len(paths.channels), np.nan),
    )


def _credit_sets(paths: PathCounts, sets: shapley.ChannelSets, shares: Floats) -> Credits:
    return Credits(
        sum_by(sets.channel, shares * paths.conversions[sets.path], len(paths.channels)),
        sum_by(sets.channel, shares * paths.values[sets.path], len(paths.channels)),
        np.full(len(paths.channels), np.nan),
    )


def _credit_globally(paths: PathCounts, conversion_shares: Floats, value_shares: Floats) -> Credits:
    """Divide the totals by the channels' shares, which add up to 1."""
    has_touch = paths.lengths > 0
    return Credits(
        conversion_shares * paths.conversions[has_touch].sum(),
        value_shares * paths.values[has_touch].sum(),
        np.full(len(paths.channels), np.nan),
    )


def _removal_effects(
    paths: PathCounts, windows: markov.Windows, options: ModelOptions
) -> markov.RemovalEffects:
    model_paths = paths if options.nulls else paths.without_nulls()
    return markov.solve(model_paths, windows, options.order)


def _credit_by_markov(paths: PathCounts, windows: markov.Windows, options: ModelOptions) -> Credits:
    effects = _removal_effects(paths, windows, options)
    credits = _credit_globally(paths, _normalise(effects.conversions), _normalise(effects.values))
    return Credits(credits.conversions, credits.values, effects.conversions)


def _credit_journeys_by_markov(
    paths: PathCounts, windows: markov.Windows, options: ModelOptions
) -> Credits:
    """Divide each path's credit in proportion to the removal effects of its touches."""
    effects = _removal_effects(paths, windows, options)
    owners = paths.owners
    weights = np.nan_to_num(effects.conversions)[paths.codes]
    sums = sum_by(owners, weights, len(paths.conversions))[owners]
    equal_shares = 1.0 / paths.lengths[owners]
    shares = np.divide(weights, sums, out=equal_shares, where=sums > 0)
    credits = _credit_touches(paths, shares)
    return Credits(credits.conversions, credits.values, effects.conversions)


def _normalise(effects: Floats) -> Floats:
    losses = np.nan_to_num(effects)
    return losses / losses.sum() if losses.sum() > 0 else np.zeros_like(losses)
