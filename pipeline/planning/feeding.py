"""Giving controls to the stages beside the stream, so that interactions hardly wait for them."""

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from pipeline.adapters.lag import LagReader, Property
from pipeline.adapters.records import Records
from pipeline.model import topics
from pipeline.model.outcome import Emit
from pipeline.stack.groups import stage_groups

_CHUNK: Final = 200
_MOST_BEHIND: Final = 1000
_LOOK_S: Final = 0.05
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


class Feeder:
    """New interactions never wait behind more than a second's worth of what it gives."""

    def __init__(self, records: Records) -> None:
        kafka = records.settings.kafka()
        groups = stage_groups()
        self._codec = records.codec
        self._all = LagReader(kafka, groups)
        self._fed = LagReader(kafka, [one for one in groups if one.name != "kairos.identity"])
        self._producer = Producer({**kafka, "partitioner": "murmur2", "enable.idempotence": True})

    @property
    def partitions(self) -> int:
        """Of every topic that stages consume."""
        return self._all.partitions(topics.INTERACTIONS)

    def give(self, emits: Iterable[Emit], progress: Progress) -> int:
        """How many were given. Raises StalledError."""
        given, every = 0, iter(emits)
        while chunk := list(islice(every, _CHUNK)):
            self._wait_for_room()
            for emit in chunk:
                value = self._codec.encode(emit.topic, emit.value)
                self._producer.produce(emit.topic, value, emit.key)
            if self._producer.flush(_TIMEOUT_S):
                raise StalledError("Kafka did not take the controls in time")
            given += len(chunk)
            progress(given)
        return given

    def settle(self) -> None:
        """Returns once all that was there has had its effect. Raises StalledError."""
        if not self._all.until_passed(_TIMEOUT_S):
            raise StalledError(f"the stages are still busy after {_TIMEOUT_S:.0f} s")

    def _wait_for_room(self) -> None:
        deadline = time.monotonic() + _TIMEOUT_S
        while max(self._fed.lag().values()) > _MOST_BEHIND:
            if time.monotonic() > deadline:
                raise StalledError(
                    f"the stages did not go on for {_TIMEOUT_S:.0f} s: {self._fed.lag()}"
                )
            time.sleep(_LOOK_S)
