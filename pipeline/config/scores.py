"""Scores that models compute from traits."""

from collections.abc import Iterator

from pipeline.conditions import Path, Problem
from pipeline.config import model
from pipeline.config.compiled import CompiledScore, Feature
from pipeline.config.names import Names, known_name, score_trait


def compiled_score(score: model.Score) -> CompiledScore:
    """Compile a score, with the names of its traits."""
    return CompiledScore(score_trait(score.name), tuple(_feature(one) for one in score.features))


def score_problems(scores: tuple[model.Score, ...], names: Names) -> Iterator[Problem]:
    """Yield problems of features that are not traits, or are scores themselves."""
    for index, score in enumerate(scores):
        for place, feature in enumerate(score.features):
            path: Path = ("profile", "scores", index, "features", place)
            trait = _feature(feature).trait
            if isinstance(feature, model.DaysSince):
                path = (*path, "days_since")
            yield from known_name("trait", trait, names.traits - names.scores, path)


def _feature(feature: str | model.DaysSince) -> Feature:
    if isinstance(feature, model.DaysSince):
        return Feature(feature.days_since, by_age=True)
    return Feature(feature, by_age=False)
