"""Scores: predictions of models from a profile's traits."""

from collections.abc import Mapping, Sequence
from math import nan

from pipeline.config.compiled import CompiledScore, Feature
from pipeline.config.readers import is_number
from pipeline.model.interaction import FactValue
from pipeline.model.time import DAY_MS
from pipeline.rules.scorer import Scorer


def scores(
    compiled_scores: Sequence[CompiledScore],
    traits: Mapping[str, FactValue],
    now_ms: int,
    scorers: Mapping[str, Scorer],
) -> dict[str, FactValue]:
    """Return the predicted scores, by the trait's name; a score without a model is absent."""
    predictions: dict[str, FactValue] = {}
    for score in compiled_scores:
        scorer = scorers.get(score.name)
        if scorer is not None:
            value = scorer(features_of(score, traits, now_ms))
            if value is not None:
                predictions[score.name] = value
    return predictions


def features_of(score: CompiledScore, traits: Mapping[str, FactValue], now_ms: int) -> list[float]:
    """Return a score's features at `now_ms` (epoch ms), for training and serving."""
    return [_value(feature, traits, now_ms) for feature in score.features]


def _value(feature: Feature, traits: Mapping[str, FactValue], now_ms: int) -> float:
    value = traits.get(feature.trait)
    if isinstance(value, bool):
        return float(value)
    if not is_number(value):
        return nan
    return (now_ms - value) / DAY_MS if feature.uses_age else float(value)
