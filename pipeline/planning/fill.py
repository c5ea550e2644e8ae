"""Fills what a configuration begins to keep with what came before it, beside the stream.

Every profile is told first what begins, so that until it is filled its traits say since when they
count. Then the log is read, and each shard told what it did. Whatever interrupts it, doing it again
goes on: nothing counts twice.
"""

import time
from collections.abc import Sequence
from typing import Final

import msgspec

from pipeline.adapters.records import Records
from pipeline.enrichment.beginning import Beginning
from pipeline.flow import clock
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.ids import control_id
from pipeline.model.outcome import Emit
from pipeline.model.stages import Identified, Segmented
from pipeline.planning.feeding import Feeder, Progress
from pipeline.planning.past import Reader
from pipeline.planning.people import Person
from pipeline.planning.versions import Version, beginning, fillable, lacking
from pipeline.rules import Rules

_TAKEN_UP_S: Final = 2.0
"""So long after it was applied every worker runs by a configuration; they look all the time."""

_bytes = msgspec.msgpack.Encoder()


def fill(
    records: Records,
    people: Sequence[Person],
    versions: Sequence[Version],
    rules: Rules,
    progress: Progress,
) -> int:
    """How many parts of profiles were filled, after all have had effect; `rules` are those of the
    newest of `versions`. Raises StalledError."""
    begins, keys = beginning(versions), fillable(versions)
    feeder = Feeder(records)
    if begins.keeps or begins.gone:
        feeder.give((begin(person, begins, rules) for person in people), progress)
    if not keys:
        return 0
    time.sleep(_TAKEN_UP_S)
    reader = Reader(rules, keys, begins.run, lacking(versions, keys))
    positions: dict[int, int] = {}
    feeder.settle()
    _read(records, reader, positions)
    filled = feeder.give(reader.fills(), progress)
    feeder.settle()
    # What was on its way meanwhile by an earlier configuration is behind what was read.
    while late := _read(records, reader, positions):
        feeder.give(reader.fills(sorted(late)), progress)
        feeder.settle()
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


def _read(records: Records, reader: Reader, positions: dict[int, int]) -> set[str]:
    """On from `positions` (the next offset of each partition) to the end; the shards that
    something is missing in because of it."""
    found = set()
    for stored, record in records.every(topics.SEGMENTED, Segmented, start=positions):
        if stored.partition not in positions and stored.offset > 0:
            reader.begins_late(clock(record))
        positions[stored.partition] = stored.offset + 1
        shard = reader.take(stored.partition, record)
        if shard is not None:
            found.add(shard)
    return found
