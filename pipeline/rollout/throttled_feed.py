"""Giving controls to the stages beside the stream, so that interactions hardly wait for them.

They are given a few at a time, and the next ones once these have had their effect. How many may go
together is found out by how long they take: an interaction that comes meanwhile waits as long.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from pipeline.adapters.kafka import WRITER
from pipeline.adapters.lag import LagReader, Property
from pipeline.adapters.records import Records
from pipeline.model import topics
from pipeline.model.outcome import Emit
from pipeline.rollout.round_trip_probe import Echo
from pipeline.stack.groups import stage_groups

_FEW: Final = 5
_MANY: Final = 500
_MORE: Final = 5
_WAIT_S: Final = 0.04
"""So long an interaction may wait; with nothing to wait for it takes about 0.01 s."""
_TIMEOUT_S: Final = 600.0

Progress = Callable[[int], None]
"""Told how many records have been given to the stages."""


class StalledError(Exception):
    """The stages do not keep up, or do not run; what was given to them stays given."""


def stages_run(kafka: Mapping[str, Property]) -> bool:
    """Whether each stage has a worker."""
    groups = [group.name for group in stage_groups()]
    admin = AdminClient(dict(kafka))  # its answers come as long as it is there
    described = admin.describe_consumer_groups(groups)
    return all(future.result().members for future in described.values())


def room(given: int, took_s: float) -> int:
    """How many to give after `given`, which took so long: a little more, or half."""
    return max(_FEW, given // 2) if took_s > _WAIT_S else min(_MANY, given + _MORE)


class Feeder:
    """Gives, and waits for what it gave."""

    def __init__(self, records: Records) -> None:
        kafka = records.settings.kafka()
        self._codec = records.codec
        self._lag = LagReader(kafka, stage_groups())
        self._producer = Producer({**kafka, **WRITER})
        self._echo = Echo(records, self.partitions)

    @property
    def partitions(self) -> int:
        """Of every topic that stages consume."""
        return self._lag.partitions(topics.INTERACTIONS)

    def give(self, emits: Iterable[Emit], progress: Progress) -> int:
        """How many were given. Raises StalledError."""
        given, every, most = 0, iter(emits), _FEW
        while chunk := list(islice(every, most)):
            most = room(most, self._have_effect(chunk))
            given += len(chunk)
            progress(given)
        return given

    def settle(self) -> None:
        """Returns once all that was there has had its effect. Raises StalledError."""
        if not self._lag.until_passed(_TIMEOUT_S):
            raise StalledError(f"the stages are still busy after {_TIMEOUT_S:.0f} s")

    def _have_effect(self, chunk: Iterable[Emit]) -> float:
        """How long (s) they, or an interaction behind them, took through all the stages."""
        for emit in (*chunk, *self._echo.calls()):
            value = self._codec.encode(emit.topic, emit.value)
            self._producer.produce(emit.topic, value, emit.key)
        began = time.monotonic()
        if self._producer.flush(_TIMEOUT_S):
            raise StalledError("Kafka did not take the controls in time")
        if not self._echo.heard(_TIMEOUT_S):
            raise StalledError(
                f"the stages did not go on for {_TIMEOUT_S:.0f} s: {self._lag.lag()} records wait"
            )
        return time.monotonic() - began
