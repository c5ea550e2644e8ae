"""Models in force in this process, loaded when `learning` names them."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from threading import Lock

from pipeline.adapters.artifacts import Artifacts
from pipeline.adapters.model_promotions import Promotions
from pipeline.adapters.propensity_model import (
    PropensityModel,
    PropensityModels,
    load_model,
    model_misfit,
)
from pipeline.config.compile import Configuration
from pipeline.model.learning import LearningRecord
from pipeline.rules import Rules

_log = logging.getLogger(__name__)


class ModelShelf:
    """Models by name, loaded as they are promoted. Thread-safe.

    `equip` adds the fitting models to rules. A damaged model is refused, and a model that does not
    fit a configuration is not used with it: then the previous model is used.
    """

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._models: dict[str, Sequence[PropensityModel]] = {}
        self._models_by_config: dict[str, PropensityModels | None] = {}
        self._lock = Lock()

    def apply_record(self, name: str, record: LearningRecord | None) -> None:
        """Put the model of a record of `learning` into force; None: withdraw it."""
        if record is None:
            self._put(name, ())
            _log.info("model withdrawn", extra={"model": name})
            return
        if record.model is None:
            _log.error("no model in its record", extra={"model": name})
            return
        model = load_model(record.digest, record.model.manifest, self._artifacts)
        if isinstance(model, str):
            label = f"{name}@{record.model.version}"
            _log.error(
                "model refused, the previous one stays", extra={"model": label, "why": model}
            )
            return
        self._put(name, (model, *self._models.get(name, ())[:1]))
        _log.info("model in force", extra={"model": model.manifest.label})

    def equip(self, rules: Rules) -> Rules:
        """Return the rules with the models in force that fit their configuration."""
        digest = rules.config.digest
        with self._lock:
            if digest not in self._models_by_config:
                models = tuple(
                    model
                    for versions in self._models.values()
                    if (model := self._find_fitting_model(versions, rules.config)) is not None
                )
                self._models_by_config[digest] = PropensityModels(models) if models else None
            propensities = self._models_by_config[digest]
        return rules if propensities is None else replace(rules, propensities=propensities)

    def _put(self, name: str, models: Sequence[PropensityModel]) -> None:
        with self._lock:
            self._models = dict(sorted({**self._models, name: models}.items()))
            self._models_by_config = {}

    def _find_fitting_model(
        self, versions: Sequence[PropensityModel], config: Configuration
    ) -> PropensityModel | None:
        """Return the first of a model's versions, the newest first, that fits; log those before
        it."""
        for model in versions:
            misfit = model_misfit(model.manifest, config)
            if misfit is None:
                return model
            label = model.manifest.label
            _log.error(
                "model does not fit", extra={"model": label, "config": config.digest, "why": misfit}
            )
        return None


def rules_with_models(rules: Rules, label: str | None, artifacts: Artifacts) -> Rules | str:
    """Return the rules with the models of a Decision's `label`, or the reason why one of them is
    missing or unusable."""
    models = []
    for name in label.split(" ") if label else ():
        promotion = Promotions(artifacts).find(name)
        if promotion is None:
            return f"the model {name} is no longer known"
        model = load_model(promotion.digest, promotion.manifest, artifacts)
        if isinstance(model, str):
            return f"the model {name} cannot be used: {model}"
        models.append(model)
    return replace(rules, propensities=PropensityModels(tuple(models))) if models else rules
