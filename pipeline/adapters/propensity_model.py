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

_LEAST_P: Final = 1e-6
_MENDS: Final = {
    "trait": "name it in `features` of profile.yaml",
    "days_since": "name it in `features` of profile.yaml",
    "item": "add the column to a catalogue's table, or train again without it",
}
_TRIED: Final = "tried-{features}-{version}"


class PropensityModel:
    """Loaded model. `of` is pure."""

    def __init__(self, manifest: ModelManifest, booster: Any) -> None:
        import numpy as np

        self.manifest = manifest
        self._encoder = FeatureEncoder(manifest.features)
        self._booster = booster
        self._treatments = frozenset(manifest.treatments)
        calibration = manifest.calibration or Calibration((0.0, 1.0), (0.0, 1.0))
        self._raw, self._p = np.array(calibration.raw), np.array(calibration.p)

    def of(self, candidates: Sequence[CompiledCandidate], facts: Facts) -> Sequence[float | None]:
        """Return the probability of each candidate that the model knows, by one call."""
        import numpy as np

        known = [self._knows(candidate) for candidate in candidates]
        asked = [
            candidate for candidate, is_known in zip(candidates, known, strict=True) if is_known
        ]
        if not asked:
            return [None] * len(candidates)
        raw = self._booster.predict(self._encoder.rows(asked, facts), num_threads=1)
        p = np.interp(raw, self._raw, self._p)
        values = np.clip(p, _LEAST_P, 1 - _LEAST_P).tolist()
        if len(asked) == len(candidates):
            return values  # type: ignore[no-any-return]
        predictions = iter(values)
        return [next(predictions) if is_known else None for is_known in known]

    def _knows(self, candidate: CompiledCandidate) -> bool:
        known = self._treatments
        if candidate.tie in known:
            return True
        return (
            candidate.catalog is not None
            and template_of(candidate.campaign, candidate.treatment) in known
        )


@dataclass(frozen=True, slots=True)
class PropensityModels:
    """Models in force, sorted by name: the first that knows a candidate predicts it."""

    models: tuple[PropensityModel, ...]

    @property
    def label(self) -> str:
        """Names and versions, as a Decision names them."""
        return " ".join(model.manifest.label for model in self.models)

    def of(self, candidates: Sequence[CompiledCandidate], facts: Facts) -> Sequence[float | None]:
        """Return the probability of each candidate that a model knows."""
        predictions = list(self.models[0].of(candidates, facts))
        for model in self.models[1:]:
            if None not in predictions:
                break
            others = model.of(candidates, facts)
            predictions = [
                other if known is None else known
                for known, other in zip(predictions, others, strict=True)
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
    features = len(manifest.features)
    try:
        data = file.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    unsound = problem(data, features)
    if unsound is not None:
        return unsound
    tried = _TRIED.format(features=features, version=version("lightgbm"))
    if not artifacts.is_marked(manifest.digest, tried):
        unsound = isolated_model_problem(file, features)
        if unsound is not None:
            return unsound
        if artifacts.find(manifest.digest) is not None:
            artifacts.mark(manifest.digest, tried)
    try:
        import lightgbm

        return PropensityModel(manifest, lightgbm.Booster(model_str=data.decode()))
    except UnknownFeatureError as error:
        return str(error)
    except (ImportError, OSError) as error:
        return f"LightGBM cannot be used on this machine: {error}"


def ill_fitting(manifest: ModelManifest, config: Configuration) -> str | None:
    """Return the feature of a model that a configuration's decisions lack; None: it fits."""
    known: Mapping[str, frozenset[str]] = {
        "trait": frozenset(config.read_traits),
        "days_since": frozenset(config.read_traits),
        "derived": config.carried_values,
        "segment": frozenset(segment.name for segment in config.segments),
        "item": frozenset(
            name for catalog in config.bundle.catalogs for name in model_attributes(catalog)
        ),
    }
    for feature in manifest.features:
        if feature.of in known and feature.name not in known[feature.of]:
            mend = _MENDS.get(feature.of, "let a condition read it, or train again without it")
            return f"its feature {feature} is not known when a decision is made: {mend}"
    return None


def _manifest(digest: str | None, artifacts: Artifacts) -> ModelManifest | str:
    file = artifacts.find(digest)
    if file is None:
        return f"its manifest {digest} is missing or damaged in {artifacts.folder}"
    return manifest_from(file.read_bytes())
