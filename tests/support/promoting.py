"""Promotion of a stored model, without Kafka."""

from pipeline.adapters.artifacts import Artifacts
from pipeline.adapters.model_promotions import Promotion, Promotions
from pipeline.model.learning import LearningRecord, ModelVersion
from pipeline.training.model_folder import StoredModel


def promote(model: StoredModel, artifacts: Artifacts) -> LearningRecord:
    """Promote a model; return its record of `learning`."""
    digest, manifest = artifacts.store(model.model), artifacts.store(model.manifest_file)
    description = model.manifest
    Promotions(artifacts).add(
        Promotion(description.name, description.version, digest, manifest, 0, "ada")
    )
    names = tuple(map(str, description.features))
    version = ModelVersion(description.name, description.version, names, "ada", manifest)
    return LearningRecord(1, digest, 0, model=version)
