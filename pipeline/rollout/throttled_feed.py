"""Feed of controls to the running stages, throttled so that interactions hardly wait for them.

Controls are written in small batches, each after the previous one has passed all stages. The batch
size follows from the measured time: an interaction that comes meanwhile waits as long.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from pipeline.adapters.consumer_groups import stage_groups
from pipeline.adapters.kafka import WRITER_SETTINGS, Property
from pipeline.adapters.lag import LagReader
from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.outcome import Emit
from pipeline.rollout.round_trip_probe import RoundTripProbe

_MIN_BATCH: Final = 5
_MAX_BATCH: Final = 500
_BATCH_STEP: Final = 5
_MAX_ADDED_WAIT_S: Final = 0.04
"""Longest time that an interaction may wait for a batch; an empty one takes about 0.01 s."""
_TIMEOUT_S: Final = 600.0

Progress = Callable[[int], None]
"""Called with the number of records written so far."""


class StalledError(Exception):
    """The stages do not keep up, or do not run; records already written stay written."""


def are_stages_running(kafka: Mapping[str, Property]) -> bool:
    """Return whether each stage has a worker."""
    groups = [group.name for group in stage_groups()]
    admin = AdminClient(dict(kafka))  # kept until its futures are resolved
    described = admin.describe_consumer_groups(groups)
    return all(future.result().members for future in described.values())


def next_batch_size(size: int, took_s: float) -> int:
    """Return the size after a batch of `size` that took `took_s`: a little more, or half."""
    return (
        max(_MIN_BATCH, size // 2)
        if took_s > _MAX_ADDED_WAIT_S
        else min(_MAX_BATCH, size + _BATCH_STEP)
    )


class ThrottledFeed:
    """Feed of records to the stages, which waits for their effect."""

    def __init__(self, records: Records) -> None:
        kafka = records.settings.kafka()
        self._codec = records.codec
        self._lag = LagReader(kafka, stage_groups())
        self._producer = Producer({**kafka, **WRITER_SETTINGS})
        self._probe = RoundTripProbe(records, self.partitions)

    @property
    def partitions(self) -> int:
        """Number of partitions of the topics that stages consume."""
        return self._lag.partitions(topics.INTERACTIONS)

    def feed(self, emits: Iterable[Emit], progress: Progress) -> int:
        """Write all records, and return their number. Raises StalledError."""
        written, pending, size = 0, iter(emits), _MIN_BATCH
        while batch := list(islice(pending, size)):
            size = next_batch_size(size, self._write_and_wait(batch))
            written += len(batch)
            progress(written)
        return written

    def wait_until_processed(self) -> None:
        """Return once all records present so far are processed. Raises StalledError."""
        if not self._lag.wait_until_passed(_TIMEOUT_S):
            raise StalledError(f"the stages are still busy after {_TIMEOUT_S:.0f} s")

    def _write_and_wait(self, batch: Iterable[Emit]) -> float:
        """Write a batch, and return the time (s) until it has passed all stages."""
        for emit in (*batch, *self._probe.probes()):
            value = self._codec.encode(emit.topic, emit.value)
            self._producer.produce(emit.topic, value, emit.key)
        began = time.monotonic()
        if self._producer.flush(_TIMEOUT_S):
            raise StalledError("Kafka did not take the controls in time")
        if not self._probe.wait_for_replies(_TIMEOUT_S):
            raise StalledError(
                f"the stages did not go on for {_TIMEOUT_S:.0f} s: {self._lag.lag()} records wait"
            )
        return time.monotonic() - began
