"""Many profiles at once: rows of some customers, made by the shells, repeated in the changelogs.

A worker without state rebuilds it from these changelogs, as after a loss. Each profile has names of
its own, in keys and values alike, so that rows are spread and compress like customers'; their
interactions are the same. Profiles go to the partitions in turn, not by their keys, since nothing
reads them by key.
"""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, TypeAlias

from confluent_kafka import Producer

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.config import model
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.flow import STAGES
from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier
from pipeline.rules import Rules
from pipeline.rules.token import TokenKey
from tests.benchmarks import configurations
from tests.benchmarks.memory import Shells
from tests.benchmarks.processes import running
from tests.benchmarks.rig import Rig
from tests.benchmarks.systems import apply_bundle, worker_programs
from tests.benchmarks.traffic import CUSTOMERS, InteractionTraffic

_SAMPLE_COUNT: Final = 100
_VISIT_COUNT: Final = 5
_VISIT_INTERVAL_MS: Final = 60_000
_QUEUE_WAIT_S: Final = 0.01

_Row: TypeAlias = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class _Sample:
    """Rows of one customer by stage: three identifiers, a profile, five interactions, and timers.
    The customer's name is `run`-`number`."""

    run: str
    number: int
    rows: Mapping[str, Sequence[_Row]]

    def rename(self, run: str, stage: str) -> Iterator[_Row]:
        """Yield the rows under the name, equally long, of another run."""
        old_profile, new_profile = self._profile(self.run), self._profile(run)
        for row in self.rows[stage]:
            key, value = (data.replace(self.run.encode(), run.encode()) for data in row)
            yield key.replace(old_profile, new_profile), value.replace(old_profile, new_profile)

    def _profile(self, run: str) -> bytes:
        return profile_id(Identifier("customer_id", f"{run}-{self.number}")).encode()


@dataclass(frozen=True, slots=True)
class ChangelogSize:
    """Size of one stage's changelog."""

    stage: str
    rows: int
    bytes: int


def fill(rig: Rig, bundle: model.Bundle, profiles: int) -> list[ChangelogSize]:
    """Fill the changelogs of `bundle`'s stages; no worker may run, and no state may exist."""
    apply_bundle(rig.settings, bundle)
    with running(tuple(worker_programs(rig, 1)), rig.home, rig.environment):
        pass  # the worker creates the topics
    shutil.rmtree(rig.home / "state")
    samples = list(_samples(bundle))
    return [_fill(rig, stage.name, stage.group, samples, profiles) for stage in STAGES]


def _fill(
    rig: Rig, stage: str, group: str, samples: Sequence[_Sample], profiles: int
) -> ChangelogSize:
    topic = f"{group}-rows-changelog"
    producer = Producer({**rig.settings.kafka(), "linger.ms": 50, "acks": "all"})
    rows = size = 0
    for number in range(profiles):
        run = blake2b(number.to_bytes(8), digest_size=6).hexdigest()
        for row in samples[number % len(samples)].rename(run, stage):
            _produce(producer, topic, row, number % rig.partitions)
            rows += 1
            size += len(row[0]) + len(row[1])
    producer.flush()
    return ChangelogSize(stage, rows, size)


def _produce(producer: Producer, topic: str, row: _Row, partition: int) -> None:
    while True:
        try:
            return producer.produce(topic, row[1], row[0], partition)
        except BufferError:
            producer.poll(_QUEUE_WAIT_S)


def _samples(bundle: model.Bundle) -> Iterator[_Sample]:
    config = compile_bundle(bundle)
    assert isinstance(config, Configuration), config
    codec = Codec(recorded_versions())
    traffic = InteractionTraffic(codec, configurations.EVENT, ())
    begin_ms = int(time.time() * 1000) - _VISIT_COUNT * _VISIT_INTERVAL_MS
    run, _, _ = traffic.interaction(0, begin_ms).identifiers[0].value.partition("-")
    for customer in range(_SAMPLE_COUNT):
        shells = Shells(Rules(config, TokenKey("bench"), 300_000), codec)
        for visit in range(_VISIT_COUNT):
            index = customer + visit * CUSTOMERS
            shells.put(traffic.interaction(index, begin_ms + visit * _VISIT_INTERVAL_MS))
        rows = {stage: tuple(shell.rows.items()) for stage, shell in shells.rows.items()}
        yield _Sample(run, customer, rows)
