"""Small worlds of prompts with known effects: steps, and channels drawn by chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.insights.choices import ChoiceRows, Option
from pipeline.insights.prompts import Prompts, ResultWeights
from pipeline.insights.recommend import RecommendationQuestion, Recommendations, recommend

CHANNELS: Final = ("", "call", "email", "web")
SIZES: Final = ((200, 0.05), (600, 0.15), (2_000, 0.5))
"""Customers, and the share of them who reach the step without a prompt."""

_DAY_US: Final = 86_400_000_000
_NO_EFFECTS: Final = dict.fromkeys(("terms", "income", "photo", "opening"), (0.0,) * 4)
_EFFECTS: Final = {
    "terms": (0.0, 0.05, 0.30, 0.10),
    "income": (0.0, 0.40, 0.05, 0.10),
    "photo": (0.0, 0.10, 0.05, 0.35),
    "opening": (0.0, 0.0, 0.0, 0.0),
}
_BEST_CHANNELS: Final = {"terms": "email", "income": "call", "photo": "web", "opening": None}


@dataclass(frozen=True, slots=True)
class ChoiceWorld:
    """World of prompts. `effects`: increase of `base` by each channel, by step; `shares`:
    probability of each channel, by the customer's group; `bases`: increase of
    `base`, by the group; `has_propensities`: whether propensities are logged."""

    seed: int
    effects: Mapping[str, Sequence[float]]
    customers: int = 600
    base: float = 0.15
    shares: Sequence[Sequence[float]] = ((0.25,) * 4, (0.25,) * 4)
    bases: Sequence[float] = (0.0, 0.0)
    has_propensities: bool = True


def recommend_in(world: ChoiceWorld, adjust: tuple[str, ...] = ()) -> Recommendations:
    """Return the recommendations in a world."""
    chance = np.random.default_rng(world.seed)
    rows = tuple(_rows(world, chance, step) for step in world.effects)
    prompts = Prompts(rows, world.customers, 0, 0)
    return recommend(RecommendationQuestion(prompts, (), ResultWeights(), adjust))


def _rows(world: ChoiceWorld, chance: np.random.Generator, step: str) -> ChoiceRows:
    count = world.customers
    group = chance.integers(0, 2, count)
    shares = np.asarray(world.shares)[group]
    option = (chance.random((count, 1)) > shares.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    probability = (
        world.base + np.asarray(world.bases)[group] + np.asarray(world.effects[step])[option]
    )
    return ChoiceRows(
        place=step,
        options=tuple(Option(channel, channel and f"{step}-{channel}") for channel in CHANNELS),
        customer=np.arange(count),
        option=option,
        propensity=shares[np.arange(count), option]
        if world.has_propensities
        else np.full(count, np.nan),
        stratum=group,
        strata=(("a",), ("b",)),
        later=np.arange(count) >= count // 2,
        worth=(chance.random(count) < probability).astype(np.float64),
        split=count // 2 * _DAY_US,
        end=count * _DAY_US,
    )


def count_false_recommendations(seeds: range, customers: int, base: float) -> int:
    """Count the worlds without any effect in which a change is recommended."""
    worlds = (ChoiceWorld(seed, _NO_EFFECTS, customers, base) for seed in seeds)
    return sum(bool(recommend_in(world, ("group",)).changes) for world in worlds)


def count_right_recommendations(seeds: range) -> int:
    """Count the worlds in which every step with an effect, and no other, gets its best channel."""
    recommendations = (recommend_in(ChoiceWorld(seed, _EFFECTS, 1_200)).journey for seed in seeds)
    return sum(
        {step.step: step.channel for step in steps} == _BEST_CHANNELS for steps in recommendations
    )


def channels_despite_groups(seeds: range) -> list[str | None]:
    """Return the recommended channel by world, where calls have no effect and mostly go to the
    group that converts without them, and e-mails have an effect."""
    shares = ((0.25, 0.05, 0.45, 0.25), (0.05, 0.80, 0.05, 0.10))
    effects = {"terms": (0.0, 0.0, 0.25, 0.0)}
    worlds = (ChoiceWorld(seed, effects, 6_000, 0.1, shares, (0.0, 0.4)) for seed in seeds)
    return [recommend_in(world).journey[0].channel for world in worlds]
