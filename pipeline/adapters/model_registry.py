"""Promotion of models: their files are stored as artifacts, their version in `learning`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from msgspec.structs import replace

from pipeline.adapters.acknowledged_writer import AcknowledgedWriter
from pipeline.adapters.artifacts import Artifacts
from pipeline.adapters.avro import Codec
from pipeline.adapters.clock import now_ms
from pipeline.adapters.kafka import OutgoingRecord, Property
from pipeline.adapters.learning_follower import LearningFollower, LearningLogError
from pipeline.adapters.model_promotions import Promotion, Promotions
from pipeline.adapters.propensity_model import load_model
from pipeline.decisioning.model_manifest import ModelManifest
from pipeline.model import topics
from pipeline.model.learning import SNAPSHOT, LearningRecord, ModelVersion

_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Model's text and manifest as files."""

    text: Path
    manifest: Path


class ModelRegistry:
    """Models in force, read from the topic at construction, and changes of them.

    Raises LearningLogError where Kafka does not answer.
    """

    def __init__(self, kafka: Mapping[str, Property], codec: Codec, artifacts: Artifacts) -> None:
        follower = LearningFollower(kafka, codec)
        follower.start()
        follower.stop()
        self._records = follower.newest_records()
        self._kafka = kafka
        self._codec = codec
        self._artifacts = artifacts
        self._promotions = Promotions(artifacts)

    def versions_in_force(self) -> dict[str, ModelVersion]:
        """Return the versions in force by name."""
        promotions = (
            (key, record.model) for key, record in self._records.items() if key != SNAPSHOT
        )
        return {key: version for key, version in promotions if version is not None}

    def promote(self, manifest: ModelManifest, files: ModelFiles, user: str) -> str | None:
        """Put a version into force, or return the reason of its refusal.

        Raises OSError, LearningLogError.
        """
        digest = self._artifacts.store(files.text)
        manifest_digest = self._artifacts.store(files.manifest)
        if digest != manifest.digest:
            return f"{files.text} is damaged: its digest is not that in its manifest"
        model = load_model(digest, manifest_digest, self._artifacts)
        if isinstance(model, str):
            return model
        promotion = Promotion(
            manifest.name, manifest.version, digest, manifest_digest, now_ms(), user
        )
        self._promotions.add(promotion)
        self._publish(promotion.name, self._record(promotion, model.manifest))
        return None

    def roll_back(self, name: str, user: str) -> Promotion | None:
        """Put the previous version into force again, and return its promotion.

        Where there is no previous version, withdraw the model, and return None.
        Raises LookupError if no version is in force, ValueError if the previous one has become
        unusable, OSError, LearningLogError.
        """
        stack = self._promotions.stack(name)
        if not stack or name not in self.versions_in_force():
            raise LookupError(f"no version of {name} is in force")
        previous_promotion = stack[-2] if len(stack) > 1 else None
        record = (
            None
            if previous_promotion is None
            else self._record(previous_promotion, self._manifest(previous_promotion))
        )
        self._promotions.add(replace(stack[-1], at=now_ms(), by=user, rolled_back=True))
        self._publish(name, record)
        return previous_promotion

    def _manifest(self, promotion: Promotion) -> ModelManifest:
        model = load_model(promotion.digest, promotion.manifest, self._artifacts)
        if isinstance(model, str):
            raise ValueError(f"{promotion.label}: {model}")
        return model.manifest

    def _record(self, promotion: Promotion, manifest: ModelManifest) -> LearningRecord:
        latest_record = self._records.get(promotion.name)
        return LearningRecord(
            number=1 if latest_record is None else latest_record.number + 1,
            digest=promotion.digest,
            published_at=now_ms(),
            model=ModelVersion(
                name=promotion.name,
                version=promotion.version,
                features=tuple(map(str, manifest.features)),
                promoted_by=promotion.by,
                manifest=promotion.manifest,
            ),
        )

    def _publish(self, name: str, record: LearningRecord | None) -> None:
        value = None if record is None else self._codec.encode(topics.LEARNING, record)
        try:
            writer = AcknowledgedWriter(self._kafka, _TIMEOUT_S)
            writer.write([OutgoingRecord(topics.LEARNING, name, value)])
        except KafkaException as error:
            raise LearningLogError(f"not published: {error.args[0].str()}") from error
