"""Back-fill of a configuration's new aggregates from the log, beside the stream.

First every profile is sent a `begin`; until it is filled, its traits carry the time since which
they count. Then the log is read, and each shard is sent its totals. An interrupted back-fill may be
repeated: nothing counts twice.

Totals are sent, and profiles evaluated, only once identity stamps the configuration on all input,
in every partition. Probes show that: identity stamps them too, and they pass the stages behind the
records before them. Timers fired under an earlier configuration precede the probe that announces
this one, and therefore precede all records that are sent here.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from pipeline.adapters.clock import now_ms
from pipeline.adapters.kafka import key_per_partition
from pipeline.adapters.lag import partition_ends
from pipeline.adapters.rocks import temporary_rows
from pipeline.enrichment.backfill import NewAggregates
from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.identity import IdentityChange
from pipeline.model.ids import control_id
from pipeline.model.outcome import Emit
from pipeline.model.records import time_of
from pipeline.model.stages import Identified, Segmented
from pipeline.profile_reads.member_profiles import MemberProfile, open_profiles
from pipeline.rollout.backfill_reader import BackfillReader
from pipeline.rollout.throttled_feed import Progress, StalledError, ThrottledFeed
from pipeline.rollout.versions import Version, find_new_aggregates
from pipeline.rules import Rules

_MAX_PROBES: Final = 100
"""Maximum number of probes per partition; all stages answer one in about half a second."""

_encoder = msgspec.msgpack.Encoder()


class BackfillTarget(Protocol):
    """Stages to be back-filled, and the log that they write."""

    @property
    def partitions(self) -> int: ...

    def feed(self, emits: Iterable[Emit]) -> int:
        """Write the records and return their number, once they are processed."""

    def wait_until_processed(self) -> None:
        """Return once all records present so far are processed."""

    def read(self, reader: BackfillReader) -> Iterator[str]:
        """Add new records of the log to `reader`; yield shards that must be filled with them."""


def backfill(
    records: Records, versions: Sequence[Version], rules: Rules, progress: Progress
) -> int:
    """Back-fill the newest of `versions`, and return the number of filled shards.

    On return the fills are processed, and no stage uses an earlier version. `rules`: the rules of
    the newest version. Raises StalledError.
    """
    new_aggregates = find_new_aggregates(versions)
    stages = _RunningStages(records, progress)
    if new_aggregates.aggregates or new_aggregates.gone:
        with open_profiles(records) as people:
            stages.feed(begin_control(person, new_aggregates, rules) for person in people)
    with temporary_rows() as rows:
        reader = BackfillReader(rows, rules, versions)
        if not reader.has_to_fill:
            stages.skip_log()
        return backfill_stages(stages, reader)


def backfill_stages(stages: BackfillTarget, reader: BackfillReader) -> int:
    """Read the log, send each shard its totals, and return the number of filled shards."""
    _probe_until_in_force(stages, reader)
    shards = stages.feed(reader.fill_records())
    stages.wait_until_processed()
    # Records in flight by an earlier configuration come after those read above.
    while late_shards := set(stages.read(reader)):
        stages.feed(reader.fill_records(sorted(late_shards)))
        stages.wait_until_processed()
    return shards


def begin_control(person: MemberProfile, new_aggregates: NewAggregates, rules: Rules) -> Emit:
    """Return the control by which one profile begins its new aggregates."""
    profile = person.profile.profile_id
    digest = rules.config.digest
    control = Control(
        control_id=control_id(digest, "begin", f"{profile}/{new_aggregates.run}"),
        kind="begin",
        at=person.at,
        cause=digest,
        config=digest,
        state=_encoder.encode(new_aggregates),
    )
    return Emit(topics.IDENTIFIED, profile, Identified(control=control))


def _probe_until_in_force(stages: BackfillTarget, reader: BackfillReader) -> None:
    """Probe all partitions until each uses the new version. Raises StalledError."""
    for number in range(_MAX_PROBES):
        stages.feed(_probes(stages.partitions, number))
        stages.wait_until_processed()
        for _ in stages.read(reader):
            pass  # all shards are filled afterwards
        old_partitions = [
            partition for partition in range(stages.partitions) if reader.is_behind(partition)
        ]
        if not old_partitions:
            return
    raise StalledError(
        f"partitions {', '.join(map(str, old_partitions))} still use an earlier configuration: "
        "start the workers again (`kairos down`, `kairos up`), then apply the configuration again; "
        "until then new metrics count from now, and profiles are evaluated as interactions come"
    )


def _probes(partition_count: int, number: int) -> Iterator[Emit]:
    now = now_ms()
    for key in key_per_partition("probe", partition_count):
        change_id = control_id(key, "probe", f"{now}/{number}")
        probe = IdentityChange(change_id, "probe", identifier=key, at=now, config="")
        yield Emit(topics.IDENTITIES, key, probe)


class _RunningStages:
    """Stages of a running stack."""

    def __init__(self, records: Records, progress: Progress) -> None:
        self._records = records
        self._progress = progress
        self._feed = ThrottledFeed(records)
        self._positions: dict[int, int] = {}

    @property
    def partitions(self) -> int:
        return self._feed.partitions

    def feed(self, emits: Iterable[Emit]) -> int:
        return self._feed.feed(emits, self._progress)

    def wait_until_processed(self) -> None:
        self._feed.wait_until_processed()

    def skip_log(self) -> None:
        """Skip the records that are in the log now."""
        self._positions = partition_ends(self._records.settings.kafka(), topics.SEGMENTED)

    def read(self, reader: BackfillReader) -> Iterator[str]:
        positions = self._positions
        for stored_record, record in self._records.read_all(
            topics.SEGMENTED, Segmented, start=positions
        ):
            if stored_record.partition not in positions and stored_record.offset > 0:
                reader.note_truncation(time_of(record))
            positions[stored_record.partition] = stored_record.offset + 1
            shard = reader.add(stored_record.partition, record)
            if shard is not None:
                yield shard
