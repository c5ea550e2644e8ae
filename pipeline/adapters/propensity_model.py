"""Propensity models in force, checked before use; one call predicts all candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pipeline.adapters.artifacts import Artifacts
from pipeline.adapters.model_text import problem
from pipeline.adapters.trial import isolated_model_problem
from pipeline.conditions import Facts
from pipeline.config.catalogs import model_attributes
from pipeline.config.compile import Configuration
from pipeline.config.compiled import CompiledCandidate
from pipeline.decisioning.features import FeatureEncoder, UnknownFeatureError
from pipeline.decisioning.model_manifest import (
    Calibration,
    ModelManifest,
    manifest_from,
    template_of,
)

_MIN_P: Final = 1e-6
_REMEDIES: Final = {
    "trait": "name it in `features` of profile.yaml",
    "days_since": "name it in `features` of profile.yaml",
    "item": "add the column to a catalogue's table, or train again without it",
}
_TRIAL_MARK: Final = "tried-{features}-{version}"


class PropensityModel:
    """Loaded model. `probabilities` is pure."""

    def __init__(self, manifest: ModelManifest, booster: Any) -> None:
        import numpy as np

        self.manifest = manifest
        self._encoder = FeatureEncoder(manifest.features)
        self._booster = booster
        self._treatments = frozenset(manifest.treatments)
        calibration = manifest.calibration or Calibration((0.0, 1.0), (0.0, 1.0))
        self._raw_scores, self._probabilities = np.array(calibration.raw), np.array(calibration.p)

    def probabilities(
        self, candidates: Sequence[CompiledCandidate], facts: Facts
    ) -> Sequence[float | None]:
        """Return the probability of each candidate, by one call; None: the model lacks it."""
        import numpy as np

        flags = [self._can_predict(candidate) for candidate in candidates]
        subset = [candidate for candidate, flag in zip(candidates, flags, strict=True) if flag]
        if not subset:
            return [None] * len(candidates)
        raw_scores = self._booster.predict(self._encoder.rows(subset, facts), num_threads=1)
        p = np.interp(raw_scores, self._raw_scores, self._probabilities)
        values = np.clip(p, _MIN_P, 1 - _MIN_P).tolist()
        if len(subset) == len(candidates):
            return values  # type: ignore[no-any-return]
        predictions = iter(values)
        return [next(predictions) if flag else None for flag in flags]

    def _can_predict(self, candidate: CompiledCandidate) -> bool:
        treatments = self._treatments
        if candidate.tie in treatments:
            return True
        return (
            candidate.catalog is not None
            and template_of(candidate.campaign, candidate.treatment) in treatments
        )


@dataclass(frozen=True, slots=True)
class PropensityModels:
    """Models in force, sorted by name: the first that was trained on a candidate predicts it."""

    models: tuple[PropensityModel, ...]

    @property
    def label(self) -> str:
        """Names and versions, in the form of a Decision."""
        return " ".join(model.manifest.label for model in self.models)

    def probabilities(
        self, candidates: Sequence[CompiledCandidate], facts: Facts
    ) -> Sequence[float | None]:
        """Return the probability of each candidate; None: all models lack it."""
        predictions = list(self.models[0].probabilities(candidates, facts))
        for model in self.models[1:]:
            if None not in predictions:
                break
            other_predictions = model.probabilities(candidates, facts)
            predictions = [
                other_prediction if prediction is None else prediction
                for prediction, other_prediction in zip(predictions, other_predictions, strict=True)
            ]
        return predictions


def load_model(
    digest: str, manifest_digest: str | None, artifacts: Artifacts
) -> PropensityModel | str:
    """Return the promoted model with these digests, or the reason why it must not be used."""
    file = artifacts.find(digest)
    if file is None:
        return f"its text {digest} is missing or damaged in {artifacts.folder}"
    manifest = _manifest(manifest_digest, artifacts)
    if isinstance(manifest, str):
        return manifest
    if manifest.digest != digest or manifest.kind != "propensity":
        return "its manifest is another model's"
    return open_model(file, manifest, artifacts)


def open_model(file: Path, manifest: ModelManifest, artifacts: Artifacts) -> PropensityModel | str:
    """Return the model in `file`, after a trial in a separate process, or the reason of its
    refusal."""
    feature_count = len(manifest.features)
    try:
        data = file.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    fault = problem(data, feature_count)
    if fault is not None:
        return fault
    mark = _TRIAL_MARK.format(features=feature_count, version=version("lightgbm"))
    if not artifacts.is_marked(manifest.digest, mark):
        fault = isolated_model_problem(file, feature_count)
        if fault is not None:
            return fault
        if artifacts.find(manifest.digest) is not None:
            artifacts.mark(manifest.digest, mark)
    try:
        import lightgbm

        return PropensityModel(manifest, lightgbm.Booster(model_str=data.decode()))
    except UnknownFeatureError as error:
        return str(error)
    except (ImportError, OSError) as error:
        return f"LightGBM cannot be used on this machine: {error}"


def model_misfit(manifest: ModelManifest, config: Configuration) -> str | None:
    """Return the reason why a model does not fit a configuration; None: it fits."""
    names: Mapping[str, frozenset[str]] = {
        "trait": frozenset(config.read_traits),
        "days_since": frozenset(config.read_traits),
        "derived": config.carried_values,
        "segment": frozenset(segment.name for segment in config.segments),
        "item": frozenset(
            name for catalog in config.bundle.catalogs for name in model_attributes(catalog)
        ),
    }
    for feature in manifest.features:
        if feature.of in names and feature.name not in names[feature.of]:
            remedy = _REMEDIES.get(feature.of, "let a condition read it, or train again without it")
            return f"its feature {feature} is not known when a decision is made: {remedy}"
    return None


def _manifest(digest: str | None, artifacts: Artifacts) -> ModelManifest | str:
    file = artifacts.find(digest)
    if file is None:
        return f"its manifest {digest} is missing or damaged in {artifacts.folder}"
    return manifest_from(file.read_bytes())
