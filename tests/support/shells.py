"""Ports of a stage's shell without Kafka, RocksDB and Faust: rows in memory, and a single
configuration."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agents.decoded_cache import DecodedCache
from agents.rulebook import Rulebook
from pipeline.adapters.avro import Codec
from pipeline.config.compile import Configuration
from pipeline.flow import STAGES
from pipeline.rules import Rules

ONLY_PARTITION: Final = 0
"""Only partition of `InMemoryPorts`."""


@dataclass(frozen=True, slots=True)
class SentRecord:
    """Record as a stage sent it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class RecordSink(ABC):
    """Part of a shell's ports that takes records."""

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        partition: int,
    ) -> None:
        self.record_output(SentRecord(topic, key, value, tuple(headers)))

    @abstractmethod
    def record_output(self, record: SentRecord) -> None:
        """Record an output of the stage."""


class InMemoryPorts(RecordSink):
    """Ports of one stage's shell: its rows by key, and its outputs. `committed_offsets`: offset
    up to which each topic is committed; `committable_offsets`: offset up to which it can be;
    `backlog_size`: number of inputs that wait in the log, None if it is unknown."""

    partitions: Collection[int] = (ONLY_PARTITION,)

    def __init__(self) -> None:
        self.table = self
        self.rows: dict[bytes, bytes] = {}
        self.outputs: list[SentRecord] = []
        self.committed_offsets: dict[str, int] = {}
        self.committable_offsets: dict[str, int] = {}
        self.backlog_size: int | None = 0

    def get_in(self, partition: int, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def put_in(self, partition: int, key: bytes, value: bytes) -> None:
        self.rows[key] = value

    def delete_in(self, partition: int, key: bytes) -> None:
        self.rows.pop(key, None)

    def scan_in(self, partition: int, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((k, v) for k, v in self.rows.items() if k.startswith(prefix)))

    def record_output(self, record: SentRecord) -> None:
        self.outputs.append(record)

    def backlog(self, partition: int) -> int | None:
        return self.backlog_size

    async def flush_and_commit(self) -> None:
        self.committed_offsets |= self.committable_offsets

    def committed_offset(self, topic: str, partition: int) -> int:
        return self.committed_offsets.get(topic, 0)

    def partition_of(self, topic: str, key: bytes) -> int:
        return ONLY_PARTITION


class _FixedLog:
    """Log of configurations with a single one."""

    def __init__(self, config: Configuration) -> None:
        self._config = config

    def configuration_in_force(self) -> Configuration:
        return self._config


def rulebook_of(rules: Rules) -> Rulebook:
    """Return a rulebook that has these rules already, so that nothing waits for it."""
    rulebook = Rulebook(_FixedLog(rules.config), lambda _: rules)  # type: ignore[arg-type]
    finish(rulebook.find(None))
    return rulebook


def shared_cache(codec: Codec) -> DecodedCache:
    """Return the cache of decoded records that all stages of one process share."""
    return DecodedCache(codec, (topic for stage in STAGES for topic in stage.inputs))


def finish(work: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("the coroutine waits")
