"""Everybody as of a time: what had come by then, run through the stages in memory.

By the configuration in force now. It reads as far back as `interactions` is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from typing import Final, TypeAlias

from pipeline.adapters.records import Records
from pipeline.adapters.snapshots import Stored
from pipeline.config.compile import Configuration
from pipeline.enrichment import view
from pipeline.enrichment.passing import known
from pipeline.enrichment.state import ProfileState
from pipeline.flow import Flow, clock
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Interaction
from pipeline.model.profile import Memberships, Profile
from pipeline.model.time import MAX_AHEAD_MS
from pipeline.profiles.everybody import Everybody
from pipeline.rules import Rules
from pipeline.segmentation.state import MembershipState

_ASKED: Final = ("unlink", "forget")

_Input: TypeAlias = Interaction | IdentityChange


def as_of(records: Records, rules: Rules, at: int) -> Everybody:
    """Profiles and memberships at `at` (epoch ms, inclusive)."""
    flow = Flow(rules)
    for record in _inputs(records, at):
        if isinstance(record, Interaction):
            for _ in flow.advance(clock(record)):
                pass
        for _ in flow.run(record):
            pass
    for _ in flow.advance(at):
        pass
    return Everybody(
        dict(_profiles(flow.rows["enrichment"], at, rules)),
        dict(_memberships(flow.rows["segmentation"], at, rules.config)),
    )


@dataclass(slots=True, order=True)
class _Place:
    """Where an input stands among all: each partition in its own order, among them by when (ms)
    they were written."""

    written: int
    partition: int
    offset: int


def _inputs(records: Records, at: int) -> Iterator[_Input]:
    """What came from outside the stages up to `at`."""
    lanes: dict[tuple[str, int], list[tuple[_Place, _Input]]] = {}
    for stored, record in _asked(records):
        if clock(record) <= min(at, stored.timestamp + MAX_AHEAD_MS):
            lane = lanes.setdefault((type(record).__name__, stored.partition), [])
            before = lane[-1][0].written if lane else 0
            moment = max(before, stored.timestamp)
            lane.append((_Place(moment, stored.partition, stored.offset), record))
    return (record for _, record in merge(*lanes.values(), key=lambda one: one[0]))


def _asked(records: Records) -> Iterator[tuple[Stored, _Input]]:
    yield from records.every(topics.INTERACTIONS, Interaction, _from_outside)
    for stored, change in records.every(topics.IDENTITIES, IdentityChange, _from_outside):
        if change.kind in _ASKED:
            yield stored, change


def _from_outside(stored: Stored) -> bool:
    """What the stages wrote themselves follows again by itself."""
    return all(name != topics.CAUSE_HEADER for name, _ in stored.headers)


def _profiles(
    rows: dict[str, ProfileState], at: int, rules: Rules
) -> Iterator[tuple[str, Profile]]:
    for key, state in rows.items():
        shards = view.shards_of(state)
        if shards:
            now_ms = view.moment(shards, at)
            traits = known(shards, now_ms, rules)
            yield key, view.snapshot(key, state, traits, now_ms, rules.config)


def _memberships(
    rows: dict[str, MembershipState], at: int, config: Configuration
) -> Iterator[tuple[str, Memberships]]:
    for key, state in rows.items():
        if state.members:
            yield key, Memberships(key, state.members, at, config.digest)
