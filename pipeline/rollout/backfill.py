"""Fills what a configuration begins to keep with what came before it, beside the stream.

Every profile is told first what begins, so that until it is filled its traits say since when they
count. Then the log is read, and each shard told what it did. Whatever interrupts it, doing it again
goes on: nothing counts twice.

Nothing is told, and nobody evaluated afterwards, before identity stamps the configuration on
whatever comes, in every partition. Probes show that: identity stamps them too, and they go through
the stages behind what came before them. What a stage wakes by an earlier configuration is before
the probe that tells it of this one, and so before all that follows here.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from pipeline.adapters.kafka import key_in_each
from pipeline.adapters.lag import partition_ends
from pipeline.adapters.records import Records
from pipeline.adapters.rocks import passing_rows
from pipeline.enrichment.beginning import Beginning
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.identity import IdentityChange
from pipeline.model.ids import control_id
from pipeline.model.outcome import Emit
from pipeline.model.records import time_of
from pipeline.model.stages import Identified, Segmented
from pipeline.rollout.backfill_reader import Reader
from pipeline.rollout.people import Person, everybody
from pipeline.rollout.throttled_feed import Feeder, Progress, StalledError
from pipeline.rollout.versions import Version, beginning
from pipeline.rules import Rules

_PROBES: Final = 100
"""So often each partition is asked; all stages answer in about half a second."""

_bytes = msgspec.msgpack.Encoder()


class Stages(Protocol):
    """What is filled, and the log that it writes."""

    @property
    def partitions(self) -> int: ...

    def give(self, emits: Iterable[Emit]) -> int:
        """How many it was given."""

    def settle(self) -> None:
        """Returns once all that was there has had its effect."""

    def read(self, reader: Reader) -> Iterator[str]:
        """Has `reader` take what is new in the log; the shards that something is missing in
        because of it."""


def fill(records: Records, versions: Sequence[Version], rules: Rules, progress: Progress) -> int:
    """How many parts of profiles were filled, after all have had effect and nothing runs by an
    earlier version any more; `rules` are those of the newest of `versions`. Raises StalledError."""
    begins = beginning(versions)
    stages = _Stages(records, progress)
    if begins.keeps or begins.gone:
        with everybody(records) as people:
            stages.give(begin(person, begins, rules) for person in people)
    with passing_rows() as rows:
        reader = Reader(rows, rules, versions)
        if not reader.has_to_fill:
            stages.pass_over()
        return fill_stages(stages, reader)


def fill_stages(stages: Stages, reader: Reader) -> int:
    """Reads their log, and tells each shard what it did."""
    _read_until_taken_up(stages, reader)
    filled = stages.give(reader.fills())
    stages.settle()
    # What was on its way meanwhile by an earlier configuration is behind what was read.
    while late := set(stages.read(reader)):
        stages.give(reader.fills(sorted(late)))
        stages.settle()
    return filled


def begin(person: Person, begins: Beginning, rules: Rules) -> Emit:
    """Tells one profile what begins."""
    profile = person.profile.profile_id
    digest = rules.config.digest
    control = Control(
        control_id=control_id(digest, "begin", f"{profile}/{begins.run}"),
        kind="begin",
        at=person.at,
        cause=digest,
        config=digest,
        state=_bytes.encode(begins),
    )
    return Emit(topics.IDENTIFIED, profile, Identified(control=control))


def _read_until_taken_up(stages: Stages, reader: Reader) -> None:
    for number in range(_PROBES):
        stages.give(_probes(stages.partitions, number))
        stages.settle()
        for _ in stages.read(reader):
            pass  # all shards are told
        behind = [one for one in range(stages.partitions) if reader.is_behind(one)]
        if not behind:
            return
    raise StalledError(
        f"partitions {', '.join(map(str, behind))} still run by an earlier configuration: start "
        "the workers again (`kairos down`, `kairos up`), then apply the configuration again; until "
        "then new metrics count from now, and profiles are evaluated as their interactions come"
    )


def _probes(partitions: int, number: int) -> Iterator[Emit]:
    at = time.time_ns() // 1_000_000
    for key in key_in_each("probe", partitions):
        change = control_id(key, "probe", f"{at}/{number}")
        probe = IdentityChange(change, "probe", identifier=key, at=at, config="")
        yield Emit(topics.IDENTITIES, key, probe)


class _Stages:
    """Those that run."""

    def __init__(self, records: Records, progress: Progress) -> None:
        self._records = records
        self._progress = progress
        self._feeder = Feeder(records)
        self._positions: dict[int, int] = {}

    @property
    def partitions(self) -> int:
        return self._feeder.partitions

    def give(self, emits: Iterable[Emit]) -> int:
        return self._feeder.give(emits, self._progress)

    def settle(self) -> None:
        self._feeder.settle()

    def pass_over(self) -> None:
        """What is in the log by now need not be read."""
        self._positions = partition_ends(self._records.settings.kafka(), topics.SEGMENTED)

    def read(self, reader: Reader) -> Iterator[str]:
        positions = self._positions
        for stored, record in self._records.every(topics.SEGMENTED, Segmented, start=positions):
            if stored.partition not in positions and stored.offset > 0:
                reader.begins_late(time_of(record))
            positions[stored.partition] = stored.offset + 1
            shard = reader.take(stored.partition, record)
            if shard is not None:
                yield shard
