"""The agents' shells over rows in memory: all that a worker does but Kafka, RocksDB and Faust."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agents.metrics import StageMetrics
from agents.ports import Message
from agents.rulebook import Rulebook
from agents.stage import StageShell
from pipeline.adapters.avro import Codec
from pipeline.flow import STAGES, Stage
from pipeline.model import topics
from pipeline.model.interaction import Interaction
from pipeline.rules import Rules

_ONLY: Final = 0
"""The one partition."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A record as a stage sent it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Rows:
    """The ports of one stage's shell: its rows by key, and what it has sent since it was asked.
    Everything that was sent is delivered and committed at once."""

    partitions: Collection[int] = (_ONLY,)

    def __init__(self) -> None:
        self.table = self
        self.rows: dict[bytes, bytes] = {}
        self.sent: list[Sent] = []
        self.next: dict[str, int] = {}

    def get_in(self, partition: int, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def put_in(self, partition: int, key: bytes, value: bytes) -> None:
        self.rows[key] = value

    def delete_in(self, partition: int, key: bytes) -> None:
        self.rows.pop(key, None)

    def scan_in(self, partition: int, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((k, v) for k, v in self.rows.items() if k.startswith(prefix)))

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        partition: int,
    ) -> None:
        self.sent.append(Sent(topic, key, value, tuple(headers)))

    def committed(self, topic: str, partition: int) -> int:
        return self.next.get(topic, 0)

    def partition_of(self, topic: str, key: bytes) -> int:
        return _ONLY


class Shells:
    """The shells of the four stages, each input going through all of them before the next."""

    def __init__(self, rules: Rules, codec: Codec) -> None:
        self.rows = {stage.name: Rows() for stage in STAGES}
        self._codec = codec
        rulebook = Rulebook(_Applied(rules), lambda _: rules)  # type: ignore[arg-type]
        asyncio.run(rulebook.find(None))  # known from now on, so nothing waits for it
        self._shells = {
            stage.name: StageShell(
                stage, self.rows[stage.name], codec, rulebook, StageMetrics(stage.name)
            )
            for stage in STAGES
        }

    def put(self, interaction: Interaction) -> None:
        """Process an interaction and all that follows from it."""
        value = self._codec.encode(topics.INTERACTIONS, interaction)
        key = interaction.identifiers[0].key.encode()
        waiting = deque([(Sent(topics.INTERACTIONS, key, value, ()), interaction.received_at)])
        while waiting:
            record, at_ms = waiting.popleft()
            stage = _CONSUMER.get(record.topic)
            if stage is not None:
                waiting.extend((sent, at_ms) for sent in self._handle(stage, record, at_ms))

    def _handle(self, stage: Stage, record: Sent, at_ms: int) -> list[Sent]:
        rows = self.rows[stage.name]
        offset = rows.next.get(record.topic, 0)
        message = Message(
            record.topic, _ONLY, offset, at_ms, record.key, record.value, record.headers
        )
        _finish(self._shells[stage.name].handle(message))
        rows.next[record.topic] = offset + 1
        sent, rows.sent = rows.sent, []
        return sent


class _Applied:
    """A log of configurations in which one was applied."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def latest(self) -> Any:
        return self._rules.config


def _finish(work: Any) -> None:
    """A coroutine that has nothing to wait for."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("a stage waits although the configuration is known")


_CONSUMER: Final = {topic: stage for stage in STAGES for topic in stage.inputs}
