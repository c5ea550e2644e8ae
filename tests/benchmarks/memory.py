"""The agents' shells over rows in memory: a worker without Kafka, RocksDB and Faust."""

from collections import deque
from typing import Final

from agents.metrics import StageMetrics
from agents.ports import Message
from agents.stage import StageShell
from pipeline.adapters.avro import Codec
from pipeline.flow import STAGES, Stage
from pipeline.model import topics
from pipeline.model.interaction import Interaction
from pipeline.rules import Rules
from tests.support.shells import (
    ONLY_PARTITION,
    InMemoryPorts,
    SentRecord,
    finish,
    rulebook_of,
    shared_cache,
)


class Shells:
    """Shells of the four stages; each input passes through all of them before the next. Outputs are
    delivered and committed at once."""

    def __init__(self, rules: Rules, codec: Codec) -> None:
        self.rows = {stage.name: InMemoryPorts() for stage in STAGES}
        self._codec = codec
        rulebook = rulebook_of(rules)
        cache = shared_cache(codec)
        self._shells = {
            stage.name: StageShell(
                stage, self.rows[stage.name], cache, rulebook, StageMetrics(stage.name)
            )
            for stage in STAGES
        }

    def put(self, interaction: Interaction) -> None:
        """Process an interaction and all that follows from it."""
        value = self._codec.encode(topics.INTERACTIONS, interaction)
        key = interaction.identifiers[0].key.encode()
        queue = deque([(SentRecord(topics.INTERACTIONS, key, value, ()), interaction.received_at)])
        while queue:
            record, at_ms = queue.popleft()
            stage = _STAGES_BY_TOPIC.get(record.topic)
            if stage is not None:
                queue.extend((output, at_ms) for output in self._handle(stage, record, at_ms))

    def _handle(self, stage: Stage, record: SentRecord, at_ms: int) -> list[SentRecord]:
        rows = self.rows[stage.name]
        offset = rows.committed_offsets.get(record.topic, 0)
        message = Message(
            record.topic, ONLY_PARTITION, offset, at_ms, record.key, record.value, record.headers
        )
        finish(self._shells[stage.name].handle(message))
        rows.committed_offsets[record.topic] = offset + 1
        outputs, rows.outputs = rows.outputs, []
        return outputs


_STAGES_BY_TOPIC: Final = {topic: stage for stage in STAGES for topic in stage.inputs}
