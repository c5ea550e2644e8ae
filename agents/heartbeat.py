"""Heartbeat of a stage's partitions, without which Kafka does not clean idle ones.

Kafka closes a segment only when it appends a record, and never cleans an open segment.
"""

from itertools import count
from typing import Final

from agents.ports import Ports
from pipeline.flow import Stage
from pipeline.model import topics

_ROW: Final = b"beat"
"""Key of the row with the time (epoch ms) of the partition's last beat."""


class Heartbeat:
    """Writer of heartbeats to changelogs and snapshot topics, one every `interval_ms`, across
    restarts."""

    def __init__(self, stage: Stage, ports: Ports, interval_ms: int) -> None:
        self._snapshots = [topic for topic in stage.outputs if topic in topics.SNAPSHOTS]
        self._ports = ports
        self._interval_ms = interval_ms

    def beat(self, now_ms: int) -> list[int]:
        """Append to the partitions whose beat is due; return these partitions."""
        due_partitions = [
            partition
            for partition in self._ports.partitions
            if now_ms >= self._next_beat_ms(partition)
        ]
        for partition in due_partitions:
            self._ports.table.put_in(partition, _ROW, str(now_ms).encode())
            for topic in self._snapshots:
                self._ports.send(topic, self._key_in(topic, partition), None, (), partition)
        return due_partitions

    def _next_beat_ms(self, partition: int) -> int:
        last_beat = self._ports.table.get_in(partition, _ROW)
        return 0 if last_beat is None else int(last_beat) + self._interval_ms

    def _key_in(self, topic: str, partition: int) -> bytes:
        """Return a key in `partition` that no customer has."""
        keys = (b"beat-%d" % number for number in count())
        return next(key for key in keys if self._ports.partition_of(topic, key) == partition)
