"""Newest snapshot of learning, and the models in force, for one process."""

from collections.abc import Callable, Mapping

from pipeline.adapters.artifacts import Artifacts
from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import Property
from pipeline.adapters.learning_follower import LearningFollower
from pipeline.adapters.model_shelf import ModelShelf
from pipeline.model.learning import SNAPSHOT, LearningRecord
from pipeline.rules.knowledge import EMPTY_KNOWLEDGE, Knowledge, knowledge_of


class LatestLearning:
    """Newest knowledge, and the shelf of models. Thread-safe.

    One thread calls `apply_record`, which calls `on_change` after each change.
    """

    def __init__(self, artifacts: Artifacts) -> None:
        self.models = ModelShelf(artifacts)
        self.on_change: Callable[[], None] = lambda: None
        self._knowledge = EMPTY_KNOWLEDGE
        self._number = 0

    def knowledge(self) -> Knowledge:
        """Return the newest knowledge, which is empty before the first snapshot."""
        return self._knowledge

    def apply_record(self, key: str, record: LearningRecord | None) -> None:
        """Apply a record of `learning`; older snapshots are ignored."""
        if key != SNAPSHOT:
            self.models.apply_record(key, record)
        elif record is not None and record.number > self._number:
            self._knowledge, self._number = knowledge_of(record), record.number
        else:
            return
        self.on_change()


def follow_learning(
    kafka: Mapping[str, Property], codec: Codec, artifacts: Artifacts
) -> tuple[LatestLearning, LearningFollower]:
    """Return the newest learning and its running follower. Raises LearningLogError."""
    latest_learning = LatestLearning(artifacts)
    follower = LearningFollower(kafka, codec, latest_learning.apply_record)
    follower.start()
    return latest_learning, follower
