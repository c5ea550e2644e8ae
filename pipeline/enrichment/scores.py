"""Scores: predictions of models from a profile's traits."""

from collections.abc import Mapping, Sequence
from math import nan

from pipeline.config.compiled import CompiledScore, Feature
from pipeline.config.readers import is_number
from pipeline.model.interaction import FactValue
from pipeline.model.time import DAY_MS
from pipeline.rules.scorer import Scorer


def scores(
    wanted: Sequence[CompiledScore],
    known: Mapping[str, FactValue],
    now_ms: int,
    scorers: Mapping[str, Scorer],
) -> dict[str, FactValue]:
    """Return the scores of existing models, by the trait's name."""
    predictions: dict[str, FactValue] = {}
    for score in wanted:
        scorer = scorers.get(score.name)
        if scorer is not None:
            value = scorer(features_of(score, known, now_ms))
            if value is not None:
                predictions[score.name] = value
    return predictions


def features_of(score: CompiledScore, known: Mapping[str, FactValue], now_ms: int) -> list[float]:
    """Return a score's features at `now_ms` (epoch ms), for training and serving."""
    return [_value(feature, known, now_ms) for feature in score.features]


def _value(feature: Feature, known: Mapping[str, FactValue], now_ms: int) -> float:
    value = known.get(feature.trait)
    if isinstance(value, bool):
        return float(value)
    if not is_number(value):
        return nan
    return (now_ms - value) / DAY_MS if feature.by_age else float(value)
