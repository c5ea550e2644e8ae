"""Drift of models in force: their latest predictions against those of their tests, and outcomes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import log, sqrt
from typing import Final

from pipeline.adapters.artifacts import Artifacts
from pipeline.adapters.model_promotions import Promotions
from pipeline.adapters.propensity_model import load_model
from pipeline.adapters.topic_ranges import TopicReader
from pipeline.decisioning.model_manifest import ModelManifest, shares
from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.stages import Segmented
from pipeline.settings import Settings

_RECORDS_PER_PARTITION: Final = 20_000
"""Records examined per partition, counted from its end."""

_MIN_PREDICTIONS: Final = 200
"""Number of predictions below which nothing is reported about a model."""

_MIN_SHARE: Final = 1e-4
_SIGNIFICANT_ERRORS: Final = 3.0
"""Number of standard errors above which a distance is significant."""


@dataclass(slots=True)
class ModelUse:
    """Predictions of chosen messages by action id, with the times of decision (epoch ms)."""

    predictions: dict[str, tuple[float, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drift:
    """Drift of a model: `psi`, the population stability index of its `n` predictions.

    The mean prediction and the observed rate are those of the predictions whose window is over
    (`sample_size` of them); None where these are too few.
    """

    label: str
    n: int
    psi: float
    sample_size: int
    mean_prediction: float | None
    observed_rate: float | None

    @property
    def calibration_gap(self) -> float:
        """Distance between the rate and the mean prediction if it is significant, else 0."""
        if self.mean_prediction is None or self.observed_rate is None:
            return 0.0
        error = sqrt(
            max(self.mean_prediction * (1 - self.mean_prediction), 1e-9) / self.sample_size
        )
        gap = abs(self.mean_prediction - self.observed_rate)
        return gap if gap > _SIGNIFICANT_ERRORS * error else 0.0


def drifts(settings: Settings, now_ms: int) -> Iterator[Drift]:
    """Yield the drift of each model that decided lately by itself, often enough, and can be loaded.

    Raises KafkaException.
    """
    records, artifacts = Records.of(settings), settings.kept_artifacts()
    uses: dict[str, ModelUse] = {}
    for _, decision in records.read_all(
        topics.DECISIONS, Decision, start=_start_offsets(settings, topics.DECISIONS)
    ):
        if decision.model is not None:
            _note(decision, uses)
    if not uses:
        return
    outcome_times = _outcomes(records, _start_offsets(settings, topics.SEGMENTED))
    for label, use in sorted(uses.items()):
        manifest = _manifest(label, artifacts)
        if manifest is not None and len(use.predictions) >= _MIN_PREDICTIONS:
            yield drift_of(manifest, use, outcome_times, now_ms)


def drift_of(
    manifest: ModelManifest,
    use: ModelUse,
    outcome_times: Mapping[tuple[str, str], int],
    now_ms: int,
) -> Drift:
    """Return the drift of one model.

    `outcome_times`: first time (epoch ms) of an outcome, by action id and outcome name.
    """
    predictions = [p for p, _ in use.predictions.values()]
    samples = [
        (p, at <= outcome_times.get((action, manifest.goal), -1) < at + manifest.window_ms)
        for action, (p, at) in use.predictions.items()
        if at + manifest.window_ms <= now_ms
    ]
    is_sufficient = len(samples) >= _MIN_PREDICTIONS
    return Drift(
        label=manifest.label,
        n=len(predictions),
        psi=stability_index(
            manifest.reference.shares, shares(predictions, manifest.reference.edges)
        ),
        sample_size=len(samples),
        mean_prediction=sum(p for p, _ in samples) / len(samples) if is_sufficient else None,
        observed_rate=sum(outcome for _, outcome in samples) / len(samples)
        if is_sufficient
        else None,
    )


def stability_index(expected: tuple[float, ...], actual: tuple[float, ...]) -> float:
    """Return the population stability index: 0 for equal shares; by convention a shift above
    0.25."""
    pairs = [
        (max(a, _MIN_SHARE), max(e, _MIN_SHARE)) for a, e in zip(actual, expected, strict=True)
    ]
    return sum((a - e) * log(a / e) for a, e in pairs)


def _start_offsets(settings: Settings, topic: str) -> dict[int, int]:
    with TopicReader(settings.kafka(), topic) as reader:
        ranges = reader.limits()
    return {
        number: max(limit.start, limit.stop - _RECORDS_PER_PARTITION)
        for number, limit in ranges.items()
    }


def _note(decision: Decision, uses: dict[str, ModelUse]) -> None:
    """Add a decision's predictions to the use of its model, unless several models made them."""
    assert decision.model is not None
    if " " in decision.model:
        return
    use = uses.setdefault(decision.model, ModelUse())
    for choice in decision.choices:
        if choice.action_id is None:
            continue
        for candidate in decision.candidates:
            if (candidate.slot, candidate.treatment, candidate.fate) == (
                choice.slot,
                choice.treatment,
                "chosen",
            ):
                use.predictions[choice.action_id] = (
                    candidate.p + candidate.anyway,
                    decision.decided_at,
                )


def _outcomes(records: Records, start: Mapping[int, int]) -> dict[tuple[str, str], int]:
    times: dict[tuple[str, str], int] = {}
    for _, record in records.read_all(topics.SEGMENTED, Segmented, start=start):
        interaction = record.interaction
        if interaction is not None and interaction.kind == "outcome":
            key = str(interaction.properties.get("action_id")), interaction.name
            at = min(interaction.occurred_at, interaction.received_at)
            times[key] = min(at, times.get(key, at))
    return times


def _manifest(label: str, artifacts: Artifacts) -> ModelManifest | None:
    """Return the manifest of a promoted model; None if it was not promoted or cannot be loaded."""
    promotion = Promotions(artifacts).find(label)
    if promotion is None:
        return None
    propensity_model = load_model(promotion.digest, promotion.manifest, artifacts)
    return None if isinstance(propensity_model, str) else propensity_model.manifest
