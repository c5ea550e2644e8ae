"""Training of a score: the probability that a customer reaches a goal, from traits.

An example is the last interaction of a customer's day. Its features are the traits as of this
interaction; only later interactions show whether the goal was reached.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.conditions.duration import duration_ms
from pipeline.config import model
from pipeline.config.conditions import compile_condition
from pipeline.config.scores import compile_score
from pipeline.decisioning.features import ModelFeature
from pipeline.decisioning.model_manifest import ModelManifest
from pipeline.enrichment.scores import features_of
from pipeline.model.time import DAY_MS
from pipeline.training.evaluation import metrics, reference
from pipeline.training.fitting import LabelledRows, calibrate, fit, predict
from pipeline.training.limits import (
    Remedies,
    describe_training_data,
    refuse_leaks,
    require_examples,
    require_parts,
    require_usable_model,
)
from pipeline.training.model_folder import TrainedModel, digest_of_text
from pipeline.training.replayed_data import ReplayedData
from pipeline.training.splitting import split

_REMEDIES: Final = Remedies(
    window="shorten the window of the goal in profile.yaml",
    leak="remove it from the features of the score",
)


class ScoredMoment(Struct, frozen=True):
    """Moment of a customer with the score's features; `reached`: whether the goal was reached
    afterwards."""

    profile_id: str
    decided_at: int
    features: tuple[float, ...]
    reached: bool


def train_score(data: ReplayedData, score: model.Score, trained_at: int) -> TrainedModel:
    """Train and evaluate the model of a score that has a goal. Raises UntrainableError, LeakError.

    Predictions are served without calibration, so the metrics are computed without it.
    """
    assert score.goal is not None
    window_ms = duration_ms(score.goal.window)
    moments = list(moments_of(data, score))
    require_examples(len(moments), sum(moment.reached for moment in moments), "moments", _REMEDIES)
    parts = split(moments, window_ms)
    require_parts(parts, _REMEDIES)
    features = tuple(_feature(feature) for feature in score.features)
    train = _labelled_rows(parts.train)
    refuse_leaks(features, train, _REMEDIES)
    text_model = fit(train, _labelled_rows(parts.held_back))
    require_usable_model(text_model.text, len(features))
    test = _labelled_rows(parts.test)
    p = calibrate(predict(text_model.text, test.rows), None)
    manifest = ModelManifest(
        name=score.name,
        version=0,
        kind="score",
        digest=digest_of_text(text_model.text),
        features=features,
        treatments=(),
        calibration=None,
        goal=msgspec.json.encode(score.goal.when).decode(),
        window_ms=window_ms,
        data=describe_training_data(moments, parts.cut),
        metrics=metrics(p, test.labels, text_model.base_rate),
        reference=reference(p),
        trained_at=trained_at,
    )
    return TrainedModel(manifest, text_model.text)


def moments_of(data: ReplayedData, score: model.Score) -> Iterator[ScoredMoment]:
    """Yield the moments whose goal's window is fully known, in the order of time."""
    assert score.goal is not None
    test, window_ms = compile_condition(score.goal.when).test, duration_ms(score.goal.window)
    compiled_score = compile_score(score)
    end_ms, moments = data.end_ms, []
    for profile_id, interactions in groupby(data.interactions(), attrgetter("profile_id")):
        facts = [interaction.facts for interaction in interactions]
        goal_times = sorted(fact.now_ms for fact in facts if test(fact))
        for last_facts in _last_facts_of_days(facts):
            if last_facts.now_ms + window_ms <= end_ms:
                values = tuple(features_of(compiled_score, last_facts.traits, last_facts.now_ms))
                reached = _is_in_window(goal_times, last_facts.now_ms, window_ms)
                moments.append(ScoredMoment(profile_id, last_facts.now_ms, values, reached))
    yield from sorted(moments, key=lambda moment: (moment.decided_at, moment.profile_id))


def _last_facts_of_days(facts: Sequence[Facts]) -> Iterator[Facts]:
    for _, day_facts in groupby(facts, lambda fact: fact.now_ms // DAY_MS):
        yield list(day_facts)[-1]


def _is_in_window(goal_times: Sequence[int], start_ms: int, window_ms: int) -> bool:
    """Return whether a goal came in (`start_ms`, `start_ms` + `window_ms`]."""
    index = bisect_right(goal_times, start_ms)
    return index < len(goal_times) and goal_times[index] <= start_ms + window_ms


def _feature(feature: str | model.DaysSince) -> ModelFeature:
    if isinstance(feature, model.DaysSince):
        return ModelFeature("days_since", feature.days_since)
    return ModelFeature("trait", feature)


def _labelled_rows(moments: Sequence[ScoredMoment]) -> LabelledRows:
    rows = np.array([moment.features for moment in moments], dtype=np.float64)
    return LabelledRows(rows, np.array([moment.reached for moment in moments], dtype=np.bool_))
