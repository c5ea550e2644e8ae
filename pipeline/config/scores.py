"""Scores that models compute from traits."""

from collections.abc import Iterator

from pipeline.conditions import Path, Problem
from pipeline.config import model
from pipeline.config.compiled import CompiledScore, Feature
from pipeline.config.names import Names, check_name, score_trait


def compile_score(score: model.Score) -> CompiledScore:
    """Compile a score, with the names of its traits."""
    return CompiledScore(
        score_trait(score.name), tuple(_feature(feature) for feature in score.features)
    )


def score_problems(scores: tuple[model.Score, ...], names: Names) -> Iterator[Problem]:
    """Yield problems of scores: features that are not traits or are scores, and missing models."""
    for index, score in enumerate(scores):
        for feature_index, feature in enumerate(score.features):
            path: Path = ("profile", "scores", index, "features", feature_index)
            trait = _feature(feature).trait
            if isinstance(feature, model.DaysSince):
                path = (*path, "days_since")
            yield from check_name("trait", trait, names.traits - names.scores, path)
        if score.model is None and score.goal is None:
            message = "this score has no model: name one, or a goal for which to train one"
            yield Problem(("profile", "scores", index, "name"), message)
        if score.model is None and score.sha256 is not None:
            message = "a digest needs a model: name the model, or leave the digest out"
            yield Problem(("profile", "scores", index, "sha256"), message)


def feature_problems(features: tuple[str, ...], names: Names) -> Iterator[Problem]:
    """Yield problems of the traits that models may read."""
    for index, name in enumerate(features):
        yield from check_name("trait", name, names.traits, ("profile", "features", index))


def _feature(feature: str | model.DaysSince) -> Feature:
    if isinstance(feature, model.DaysSince):
        return Feature(feature.days_since, uses_age=True)
    return Feature(feature, uses_age=False)
