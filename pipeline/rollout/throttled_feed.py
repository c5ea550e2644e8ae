"""Feed of controls to the running stages, paced so that interactions hardly wait for them."""

from collections.abc import Callable, Iterable
from typing import Final

from confluent_kafka import Producer

from pipeline.adapters.consumer_groups import stage_groups
from pipeline.adapters.kafka import WRITER_SETTINGS
from pipeline.adapters.lag import LagReader
from pipeline.home.pace import Pace
from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.outcome import Emit

_FULL_QUEUE_POLL_S: Final = 0.1
_TIMEOUT_S: Final = 600.0
_REPORT_INTERVAL: Final = 50

Progress = Callable[[int], None]
"""Callback with the number of records written so far."""


class StalledError(Exception):
    """Raised when the stages do not keep up, or do not run; records already written remain."""


class ThrottledFeed:
    """Feed of records to the stages that waits until they are processed."""

    def __init__(self, records: Records) -> None:
        kafka = records.settings.kafka()
        self._codec = records.codec
        self._lag = LagReader(kafka, stage_groups())
        self._producer = Producer({**kafka, **WRITER_SETTINGS, "linger.ms": 1})
        self._pace = Pace(records, self._producer, self._fail_if_stalled)

    @property
    def partitions(self) -> int:
        """Number of partitions of the topics that stages consume."""
        return self._lag.partition_count(topics.INTERACTIONS)

    def feed(self, emits: Iterable[Emit], progress: Progress) -> int:
        """Write all records, and return their number once they have passed. Raises StalledError."""
        count = 0
        for count, emit in enumerate(emits, start=1):
            self._write(emit)
            self._pace.step()
            if count % _REPORT_INTERVAL == 0:
                progress(count)
        self._pace.wait_until_passed()
        self._producer.flush(_TIMEOUT_S)
        progress(count)
        return count

    def wait_until_processed(self) -> None:
        """Return once all records present so far are processed. Raises StalledError."""
        if not self._lag.wait_until_passed(_TIMEOUT_S):
            raise StalledError(f"the stages are still busy after {_TIMEOUT_S:.0f} s")

    def _write(self, emit: Emit) -> None:
        value = self._codec.encode(emit.topic, emit.value)
        while True:
            try:
                self._producer.produce(emit.topic, value, emit.key)
            except BufferError:
                self._producer.poll(_FULL_QUEUE_POLL_S)
            else:
                return

    def _fail_if_stalled(self, waited_s: float) -> bool:
        if waited_s > _TIMEOUT_S:
            raise StalledError(
                f"the stages did not go on for {_TIMEOUT_S:.0f} s: {self._lag.lag()} records wait"
            )
        return False
