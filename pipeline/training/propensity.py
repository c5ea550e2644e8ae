"""Training of a propensity model: the probability that a message reaches its goal for a
customer."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from msgspec.structs import replace

from pipeline.decisioning.features import ITEM_SOURCES, FeatureEncoder, Matrix, ModelFeature
from pipeline.decisioning.model_manifest import ModelManifest, ModelMetrics, template_of
from pipeline.training.evaluation import metrics, policy_value, reference
from pipeline.training.feature_choice import features_of
from pipeline.training.fitting import FittedModel, Floats, LabelledRows, calibrate, fit, predict
from pipeline.training.limits import (
    Remedies,
    describe_training_data,
    refuse_leaks,
    require_examples,
    require_features,
    require_parts,
    require_usable_model,
)
from pipeline.training.model_folder import TrainedModel, digest_of_text
from pipeline.training.replayed_data import DrawnDecision, Example, MessageGoal, ReplayedData
from pipeline.training.splitting import is_tested, split

MIN_MESSAGES: Final = 20
"""Fewest messages of a treatment; with fewer, the model has no prediction for it."""

_REMEDIES: Final = Remedies(window="shorten --window", leak="leave it out with --exclude")
_BATCH_DECISIONS: Final = 500
"""Decisions whose rivals are predicted in one call."""


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """Request for a model: its `name`; `excluded_traits`: traits that are not features;
    `trained_at` (epoch ms)."""

    name: str
    goal: MessageGoal
    excluded_traits: frozenset[str]
    trained_at: int


def train_propensity(data: ReplayedData, request: TrainingRequest) -> TrainedModel:
    """Train, calibrate and evaluate a model. Raises UntrainableError and LeakError."""
    examples = list(data.examples(request.goal))
    require_examples(
        len(examples), sum(example.reached for example in examples), "messages", _REMEDIES
    )
    parts = split(examples, request.goal.window_ms)
    require_parts(parts, _REMEDIES)
    features = _features(parts.train, request.excluded_traits)
    require_features(features)
    encoder = FeatureEncoder(features)
    train = _labelled_rows(encoder, parts.train)
    refuse_leaks(features, train, _REMEDIES)
    text_model = fit(train, _labelled_rows(encoder, parts.held_back))
    require_usable_model(text_model.text, len(features))
    decisions = (
        decision
        for decision in data.drawn_decisions(request.goal, parts.cut)
        if is_tested(decision.profile_id)
    )
    p, result = _ModelTest(encoder, text_model).evaluate(parts.test, decisions)
    manifest = ModelManifest(
        name=request.name,
        version=0,
        kind="propensity",
        digest=digest_of_text(text_model.text),
        features=features,
        treatments=_treatments(parts.train, features),
        calibration=text_model.calibration,
        goal=request.goal.outcome,
        window_ms=request.goal.window_ms,
        data=describe_training_data(examples, parts.cut),
        metrics=result,
        reference=reference(p),
        trained_at=request.trained_at,
    )
    return TrainedModel(manifest, text_model.text)


def _features(
    train: Sequence[Example], excluded_traits: frozenset[str]
) -> tuple[ModelFeature, ...]:
    features = features_of((example.facts, example.message) for example in train)
    return tuple(feature for feature in features if feature.name not in excluded_traits)


def _treatments(
    train: Sequence[Example], features: Sequence[ModelFeature]
) -> tuple[tuple[str, str, str], ...]:
    """Return the treatments with enough examples; if attributes of items are features, a
    catalogue's items count together."""
    counts = Counter(
        (example.message.campaign, example.message.offer, example.message.treatment)
        for example in train
    )
    if any(feature.of in ITEM_SOURCES for feature in features):
        counts += Counter(
            template
            for example in train
            if (template := template_of(example.message.campaign, example.message.treatment))
            is not None
        )
    return tuple(sorted(name for name, count in counts.items() if count >= MIN_MESSAGES))


def _labelled_rows(encoder: FeatureEncoder, examples: Sequence[Example]) -> LabelledRows:
    rows = [encoder.rows([example.message], example.facts) for example in examples]
    labels = np.array([example.reached for example in examples], dtype=np.bool_)
    return LabelledRows(np.concatenate(rows), labels)


@dataclass(frozen=True, slots=True)
class _ModelTest:
    """Model on unseen customers: its encoder and its fit."""

    encoder: FeatureEncoder
    text_model: FittedModel

    def evaluate(
        self, test: Sequence[Example], decisions: Iterable[DrawnDecision]
    ) -> tuple[Floats, ModelMetrics]:
        """Return the probabilities of the test set's messages, and the quality of the model."""
        rows = _labelled_rows(self.encoder, test)
        p = self._probabilities(rows.rows)
        result = metrics(p, rows.labels, self.text_model.base_rate)
        return p, replace(result, policy=policy_value(self._predict(decisions)))

    def _predict(
        self, decisions: Iterable[DrawnDecision]
    ) -> Iterator[tuple[DrawnDecision, Floats]]:
        """Yield decisions with their rivals' probabilities, predicted for many in one call."""
        remainder = iter(decisions)
        while batch := list(islice(remainder, _BATCH_DECISIONS)):
            rows = [self.encoder.rows(decision.rivals, decision.facts) for decision in batch]
            probabilities = self._probabilities(np.concatenate(rows))
            parts = np.split(probabilities, np.cumsum([len(row) for row in rows])[:-1])
            yield from zip(batch, parts, strict=True)

    def _probabilities(self, rows: Matrix) -> Floats:
        if not len(rows):
            return np.empty(0)
        return calibrate(predict(self.text_model.text, rows), self.text_model.calibration)
