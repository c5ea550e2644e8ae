"""Evaluates every profile by the configuration in force, beside the stream and behind it."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from pipeline.adapters.lag import LagReader, Property
from pipeline.adapters.records import Records
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.ids import control_id
from pipeline.model.stages import Identified
from pipeline.planning.people import Person
from pipeline.stack.groups import stage_groups

_CHUNK: Final = 200
_MOST_BEHIND: Final = 1000
_LOOK_S: Final = 0.05
_TIMEOUT_S: Final = 600.0

Progress = Callable[[int], None]
"""Told how many profiles have been given to the stages."""


class StalledError(Exception):
    """The stages do not keep up, or do not run; what was given to them stays given."""


def stages_run(kafka: Mapping[str, Property]) -> bool:
    """Whether each stage has a worker."""
    groups = [group.name for group in stage_groups()]
    admin = AdminClient(dict(kafka))  # its answers come as long as it is there
    described = admin.describe_consumer_groups(groups)
    return all(future.result().members for future in described.values())


def reevaluate(records: Records, people: Sequence[Person], digest: str, progress: Progress) -> None:
    """One refresh a profile, as of the last record about it; returns once all have had effect.

    New interactions never wait behind more than a second's worth of them. Done again it changes
    nothing. Raises StalledError.
    """
    kafka = records.settings.kafka()
    lag = LagReader(kafka, [group for group in stage_groups() if group.name != "kairos.identity"])
    producer = Producer({**kafka, "partitioner": "murmur2", "enable.idempotence": True})
    for start in range(0, len(people), _CHUNK):
        _wait_for_room(lag)
        chunk = people[start : start + _CHUNK]
        for person in chunk:
            value = records.codec.encode(topics.IDENTIFIED, refresh(person, digest))
            producer.produce(topics.IDENTIFIED, value, person.profile.profile_id)
        if producer.flush(_TIMEOUT_S):
            raise StalledError("Kafka did not take the refreshes in time")
        progress(start + len(chunk))
    if not lag.until_passed(_TIMEOUT_S):
        raise StalledError(f"the stages are still busy after {_TIMEOUT_S:.0f} s")


def _wait_for_room(lag: LagReader) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while max(lag.lag().values()) > _MOST_BEHIND:
        if time.monotonic() > deadline:
            raise StalledError(f"the stages did not go on for {_TIMEOUT_S:.0f} s: {lag.lag()}")
        time.sleep(_LOOK_S)


def refresh(person: Person, digest: str) -> Identified:
    """Has the stages evaluate one profile by the configuration `digest`."""
    profile = person.profile
    return Identified(
        control=Control(
            control_id=control_id(digest, "refresh", profile.profile_id),
            kind="refresh",
            at=person.at,
            cause=digest,
            config=digest,
        )
    )
