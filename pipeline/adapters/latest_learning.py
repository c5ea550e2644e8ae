"""Newest snapshot of what was learned, and the models in force, for one process."""

from collections.abc import Callable, Mapping

from pipeline.adapters.artifacts import Artifacts
from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import Property
from pipeline.adapters.learning_follower import LearningFollower
from pipeline.adapters.model_shelf import ModelShelf
from pipeline.model.learning import SNAPSHOT, LearningRecord
from pipeline.rules.knowledge import EMPTY, Knowledge, knowledge_of


class LatestLearning:
    """Newest knowledge, and the shelf of models. Thread-safe.

    `take` is called by one thread; it calls `on_change` after each change.
    """

    def __init__(self, artifacts: Artifacts) -> None:
        self.models = ModelShelf(artifacts)
        self.on_change: Callable[[], None] = lambda: None
        self._knowledge = EMPTY
        self._number = 0

    def knowledge(self) -> Knowledge:
        """Return the newest knowledge, which is empty before the first snapshot."""
        return self._knowledge

    def take(self, key: str, record: LearningRecord | None) -> None:
        """Apply a record of `learning`; of snapshots only a newer one counts."""
        if key != SNAPSHOT:
            self.models.take(key, record)
        elif record is not None and record.number > self._number:
            self._knowledge, self._number = knowledge_of(record), record.number
        else:
            return
        self.on_change()


def follow_learning(
    kafka: Mapping[str, Property], codec: Codec, artifacts: Artifacts
) -> tuple[LatestLearning, LearningFollower]:
    """Return the newest learning and its follower, which runs. Raises LearningLogError."""
    latest = LatestLearning(artifacts)
    follower = LearningFollower(kafka, codec, latest.take)
    follower.start()
    return latest, follower
