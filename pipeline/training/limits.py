"""Limits of training: too few examples, constant or leaking features, unusable models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from pipeline.adapters import model_text
from pipeline.decisioning.features import ModelFeature
from pipeline.decisioning.model_manifest import TrainingData
from pipeline.training.feature_choice import leaking_features
from pipeline.training.fitting import LabelledRows
from pipeline.training.splitting import Split, TimedExample

MIN_EXAMPLES: Final = 200
MIN_POSITIVES: Final = 20

_T = TypeVar("_T", bound="LabelledExample")


@dataclass(frozen=True, slots=True)
class Remedies:
    """Remedies that messages name, as commands: `window`: to shorten the goal's window; `leak`: to
    train without a feature."""

    window: str
    leak: str


class UntrainableError(Exception):
    """Raised when no model can be trained on these examples; the message gives the reason."""


class LeakError(Exception):
    """Raised when a single feature predicts almost perfectly whether the goal is reached; the
    message names all such features."""


class LabelledExample(TimedExample, Protocol):
    """Example with a known result."""

    @property
    def reached(self) -> bool: ...


def require_examples(count: int, positive_count: int, noun: str, remedies: Remedies) -> None:
    """Raise UntrainableError for too few examples."""
    if count < MIN_EXAMPLES:
        raise UntrainableError(
            f"{count:,} {noun} whose window is over by the end of the data: at least "
            f"{MIN_EXAMPLES} are needed (replay more days, or {remedies.window})"
        )
    if min(positive_count, count - positive_count) < MIN_POSITIVES:
        raise UntrainableError(
            f"{positive_count:,} of {count:,} {noun} reached the goal: at least {MIN_POSITIVES} "
            f"that did and {MIN_POSITIVES} that did not are needed (replay more days)"
        )


def require_parts(parts: Split[_T], remedies: Remedies) -> None:
    """Raise UntrainableError if a part has only one kind of example, or none."""
    for name, part in (
        ("training", parts.train), ("calibration", parts.held_back), ("test", parts.test),
    ):  # fmt: skip
        positive_count = sum(example.reached for example in part)
        if not 0 < positive_count < len(part):
            raise UntrainableError(
                f"{positive_count:,} of the {len(part):,} examples for {name} reached the goal, "
                "and it needs some that did and some that did not: replay more days, or "
                f"{remedies.window}"
            )


def require_features(features: Sequence[ModelFeature]) -> None:
    """Raise UntrainableError if no feature varies."""
    if not features:
        raise UntrainableError(
            "no feature differs between the examples: name traits in `features` of "
            "profile.yaml, so that decisions carry them"
        )


def refuse_leaks(features: Sequence[ModelFeature], train: LabelledRows, remedies: Remedies) -> None:
    """Raise LeakError if a feature leaks the result."""
    leaks = leaking_features(features, train.rows, train.labels)
    if leaks:
        names = ", ".join(map(str, leaks))
        raise LeakError(
            f"{names}: each alone predicts whether the goal is reached, as if its value came after "
            f"the decision: {remedies.leak}, or correct the trait"
        )


def require_usable_model(text: str, feature_count: int) -> None:
    """Raise UntrainableError for a model that agents would refuse."""
    fault = model_text.problem(text.encode(), feature_count)
    if fault is not None:
        raise UntrainableError(f"the trained model cannot be used: {fault}")


def describe_training_data(examples: Sequence[LabelledExample], cut: int) -> TrainingData:
    """Return the time range, the cut and the counts of examples in the order of time."""
    return TrainingData(
        since=examples[0].decided_at,
        until=examples[-1].decided_at + 1,
        cut=cut,
        examples=len(examples),
        positives=sum(example.reached for example in examples),
        customers=len({example.profile_id for example in examples}),
    )
