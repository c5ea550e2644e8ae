"""A new metric, once it is back-filled, has the values that it would have if it had always existed.

This holds after any versions, in any order in which their interactions reach the stages, during
merges, and however often and early the log is read and its shards are filled.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.config import model
from pipeline.enrichment.shard import apply, merge
from pipeline.enrichment.state import Backfill, ProfileState, Shard
from pipeline.enrichment.view import shards_of, traits
from pipeline.identity.requests import forget
from pipeline.model import topics
from pipeline.model.interaction import FactValue, Identifier, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.profile import Profile
from pipeline.model.records import config_of
from pipeline.model.stages import Enriched, Segmented
from pipeline.profile_reads.member_profiles import MemberProfile
from pipeline.rollout.backfill import backfill_stages, begin_control
from pipeline.rollout.backfill_reader import BackfillReader
from pipeline.rollout.plan import plan
from pipeline.rollout.throttled_feed import StalledError
from pipeline.rollout.versions import Version, backfillable_keys, dropped_keys, find_new_aggregates
from pipeline.rules import Rules
from tests.support.cases import cases
from tests.support.identity_streams import MINUTE_MS, interactions, unlink_request
from tests.support.interleaving import InterleavedFlow
from tests.support.worlds import plain_rules, rules

_DAY_MS = 86_400_000
_RULES = ("count", "sum", "avg", "min", "max", "first", "latest", "distinct", "union", "recency")
_ORDERS = {"name": "Order"}


def _traits(names: Iterable[str]) -> tuple[model.TraitDefinition, ...]:
    """Return the trait definitions; those named `…_windowed` have a window."""
    definitions = []
    for name in names:
        rule, _, suffix = name.partition("_")
        path = None if rule in ("count", "recency") else "properties.total"
        window = "6m" if suffix else None
        definitions.append(model.TraitDefinition(name, rule, path, _ORDERS, window))  # type: ignore[arg-type]
    return tuple(definitions)


_TRAIT_NAMES = [f"{rule}{window}" for rule in _RULES for window in ("", "_windowed")]
_PATTERNS = (
    model.Segment("went_on", {"sequence": [{"name": "View"}, _ORDERS], "within": "9m"}),
    model.Segment("no_order", {"absence": _ORDERS, "after": {"name": "View"}, "for": "3m"}),
)


def _world(names: Iterable[str], segments: tuple[model.Segment, ...] = ()) -> Rules:
    base = plain_rules().config.bundle
    return rules(replace(base, profile=model.ProfileRules(_traits(names)), segments=segments))


_WORLDS = {
    "none": _world(()),
    "half": _world(_TRAIT_NAMES[::2], _PATTERNS[:1]),
    "other half": _world(_TRAIT_NAMES[1::2], _PATTERNS[1:]),
    "all": _world(_TRAIT_NAMES, _PATTERNS),
}


class _VersionedFlow(InterleavedFlow):
    """Flow in which identity runs by the version that its partition has received, which becomes
    `newest_rules` at some time; later stages run by the version that identity stamped."""

    newest_rules: Rules

    def run_everywhere_by(self, world: Rules) -> None:
        """Let every partition run by a version."""
        self.newest_rules = world
        self._rules_by_partition = dict.fromkeys(range(self.partitions), world)

    def rules_for(self, record: object, partition: int) -> Rules:
        digest = config_of(record)
        if digest:
            return next(world for world in _WORLDS.values() if world.config.digest == digest)
        if self._rules_by_partition[partition] is not self.newest_rules and self.choose(3) == 0:
            self._rules_by_partition[partition] = self.newest_rules
        return self._rules_by_partition[partition]


@st.composite
def histories(draw: st.DrawFn) -> list[str]:
    """Draw names of versions, each different from the one before; earlier ones may return."""
    names = draw(st.lists(st.sampled_from(sorted(_WORLDS)), min_size=2, max_size=4))
    return [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]


class _FlowStages:
    """Stages of a flow, as a back-fill uses them."""

    def __init__(self, flow: _VersionedFlow, chance: random.Random) -> None:
        self.flow = flow
        self.chance = chance
        self.log = _SegmentedLog(flow, chance)

    @property
    def partitions(self) -> int:
        return self.flow.partitions

    def feed(self, emits: Iterable[Emit]) -> int:
        """Feed records, some of them twice; return their number without the copies."""
        inputs = list(emits)
        duplicates = [emit for emit in inputs if self.chance.random() < 0.3]
        self.flow.give("cli", [*inputs, *duplicates])
        return len(inputs)

    def wait_until_processed(self) -> None:
        self.flow.drain()

    def read(self, reader: BackfillReader) -> Iterator[str]:
        yield from self.log.read(reader)


class _VersionedLife(_FlowStages):
    """Customers who interact while versions are applied and back-filled, one after the other."""

    def __init__(self, world: Rules, data: st.DataObject) -> None:
        self.data = data
        chance: random.Random = data.draw(st.randoms(use_true_random=True))
        super().__init__(_VersionedFlow(plain_rules(), 3, choose=chance.randrange), chance)
        self.flow.run_everywhere_by(world)
        self.minutes = iter(range(1, 1_000))
        self.versions: list[Version] = []

    def continue_for(self, count: int) -> None:
        """Put `count` more interactions, and process some of them."""
        for _ in range(count):
            minute = next(self.minutes)
            if self.chance.random() < 0.1:
                names = self.chance.sample(["customer_id:A", "email:x", "cookie:k"], 2)
                self.flow.put(unlink_request(*names, at=minute * MINUTE_MS))
            self.flow.put(self.data.draw(interactions(minute)))
            for _ in range(self.chance.randrange(12)):
                self.flow.step()

    def apply(self, world: Rules) -> None:
        """Apply a version and back-fill it while interactions come, perhaps after a back-fill that
        was interrupted."""
        self.versions.append(Version(world.config, len(self.versions) + 1))
        self.feed(
            begin_control(person, find_new_aggregates(self.versions), world)
            for person in _people(self.flow)
        )
        if self.chance.random() < 0.5:
            reader = self._open_reader(world)
            for _ in self.read(reader):
                pass
            self.feed(reader.fill_records())
        backfill_stages(self, self._open_reader(world))

    def wait_until_processed(self) -> None:
        if self.chance.random() < 0.3:
            self.continue_for(1)
        super().wait_until_processed()

    def read(self, reader: BackfillReader) -> Iterator[str]:
        yield from super().read(reader)
        if self.chance.random() < 0.3:
            self.continue_for(1)

    def _open_reader(self, world: Rules) -> BackfillReader:
        self.log = _SegmentedLog(self.flow, self.chance)
        return BackfillReader({}, world, self.versions)


@settings(max_examples=cases(100))
@given(histories(), st.lists(st.integers(0, 8), min_size=4, max_size=4), st.data())
def test_backfilled_aggregate_equals_one_kept_from_the_start(
    history: list[str], counts: list[int], data: st.DataObject
) -> None:
    life = _VersionedLife(_WORLDS[history[0]], data)
    for name, count in zip(history, counts, strict=False):
        life.flow.newest_rules = _WORLDS[name]
        life.continue_for(count)
        life.apply(_WORLDS[name])
        life.continue_for(count)
    life.flow.drain()
    assert not life.flow.dead_letters
    _check_traits(life.flow, _WORLDS[name], next(life.minutes) * MINUTE_MS)


_backfills = st.dictionaries(
    st.sampled_from("ab"),
    st.builds(
        lambda run, count, since: Backfill(run, count, since, count),
        st.integers(1, 2),
        st.integers(-1, 2),
        st.one_of(st.none(), st.integers(0, 2)),
    ),
)


@given(_backfills, _backfills, _backfills)
def test_merged_parts_of_a_shard_keep_the_most_complete_fill(
    a: dict[str, Backfill], b: dict[str, Backfill], c: dict[str, Backfill]
) -> None:
    def join(*parts: dict[str, Backfill]) -> dict[str, Backfill]:
        first_shard, second_shard = (Shard(0, 0, 0, begun=fills) for fills in parts)
        return merge(first_shard, second_shard, plain_rules().config).begun

    assert join(a, b) == join(b, a)
    assert join(join(a, b), c) == join(a, join(b, c))
    assert join(a, a) == a
    for key, fill in join(a, b).items():
        own_fills = [fills[key] for fills in (a, b) if key in fills]
        assert fill in own_fills
        assert all(
            (fill.run, fill.interaction_count) >= (other.run, other.interaction_count)
            for other in own_fills
        )


class _SegmentedLog:
    """Log of `interactions.segmented`, in which a killed worker sent some records twice; each read
    begins where the previous read ended."""

    def __init__(self, flow: InterleavedFlow, chance: random.Random) -> None:
        self._flow = flow
        self._chance = chance
        self._next_index = 0

    def read(self, reader: BackfillReader) -> Iterator[str]:
        emits = self._flow.outputs
        new_emits, self._next_index = emits[self._next_index :], len(emits)
        for emit in (emit for emit in new_emits if emit.topic == topics.SEGMENTED):
            assert isinstance(emit.value, Segmented)
            for _ in range(1 + (self._chance.random() < 0.2)):
                shard = reader.add(self._flow.partition(emit.key), emit.value)
                if shard is not None:
                    yield shard


def _people(flow: InterleavedFlow) -> list[MemberProfile]:
    snapshots = {emit.key: emit.value for emit in flow.outputs if emit.topic == topics.PROFILES}
    return [
        MemberProfile(profile, {}, profile.updated_at)
        for profile in snapshots.values()
        if isinstance(profile, Profile)
    ]


def _check_traits(flow: InterleavedFlow, world: Rules, now_ms: int) -> None:
    """Check that every profile has the traits that all its interactions give by `world` alone."""
    arrivals: dict[str, dict[str, Interaction]] = defaultdict(dict)
    for emit in flow.outputs:
        record = emit.value
        if (
            isinstance(record, Enriched)
            and record.interaction is not None
            and record.identity is not None
        ):
            arrivals[record.identity.shard][record.interaction.event_id] = record.interaction
    for row in flow.rows["enrichment"].values():
        shards = [_apply_all(arrivals[name].values(), world) for name in sorted(row.shards.here)]
        if shards:
            assert _traits_of(shards_of(row), now_ms, world) == _traits_of(shards, now_ms, world)


def _apply_all(arrivals: Iterable[Interaction], world: Rules) -> Shard:
    shard: Shard | None = None
    for arrival in arrivals:
        shard = apply(shard, arrival, world.config)
    assert shard is not None
    return shard


def _traits_of(shards: Any, now_ms: int, world: Rules) -> dict[str, FactValue]:
    """Return the traits without those of identifiers; floats are rounded: averages are inexact."""
    config = world.config
    return {
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in traits(shards, now_ms, config).items()
        if not name.startswith("identifier")
    }


def _interaction(minute: int, name: str = "Order") -> Interaction:
    time_ms = minute * MINUTE_MS
    identifiers = (Identifier("cookie", "k"),)
    return Interaction(
        f"e{minute}", "track", name, "web", "shop", time_ms, time_ms, identifiers, {"total": 1}
    )


def _row(flow: InterleavedFlow) -> ProfileState:
    [row] = flow.rows["enrichment"].values()
    assert isinstance(row, ProfileState)
    return row


def _flow(*names: str) -> tuple[_VersionedFlow, list[Version]]:
    """Return a flow with one order by each version, a minute apart, and the versions."""
    flow = _VersionedFlow(plain_rules(), 1, choose=lambda _: 0)
    versions = []
    for minute, name in enumerate(names, start=1):
        versions.append(Version(_WORLDS[name].config, minute * _DAY_MS * 8))
        flow.run_everywhere_by(_WORLDS[name])
        flow.put(_interaction(minute))
        flow.drain()
    return flow, versions


def test_trait_states_its_beginning_until_backfilled() -> None:
    flow, versions = _flow("none", "all")
    world = _WORLDS["all"]
    flow.give(
        "cli",
        [begin_control(person, find_new_aggregates(versions), world) for person in _people(flow)],
    )
    flow.drain()
    values = traits(shards_of(_row(flow)), 3 * MINUTE_MS, world.config)
    assert (values["count"], values["count.since"]) == (1, 2 * MINUTE_MS)
    assert values["count_windowed.since"] == 2 * MINUTE_MS
    later_values = traits(shards_of(_row(flow)), 9 * MINUTE_MS, world.config)
    assert "count.since" in later_values
    assert "count_windowed.since" not in later_values


@pytest.mark.parametrize(("received_names", "missed_name"), [("none", "all"), ("all", "none")])
def test_partition_behind_an_earlier_version_stalls_and_is_named(
    received_names: str, missed_name: str
) -> None:
    # Even without new aggregates: an earlier version must not evaluate profiles after a later one.
    flow, versions = _flow(received_names, received_names)
    versions[-1] = Version(_WORLDS[missed_name].config, versions[-1].applied_at)
    reader = BackfillReader({}, _WORLDS[missed_name], versions)
    with pytest.raises(StalledError, match="partitions 0 still use an earlier configuration"):
        backfill_stages(_FlowStages(flow, random.Random(0)), reader)
    assert not any(
        config_of(emit.value) == _WORLDS[missed_name].config.digest for emit in flow.outputs
    )


def test_truncated_log_is_shown_as_counting_since_its_beginning() -> None:
    flow, versions = _flow("none", "none", "all")
    world = _WORLDS["all"]
    for horizon_ms, since_ms in ((2 * MINUTE_MS, 2 * MINUTE_MS), (0, None)):
        reader = BackfillReader({}, world, versions)
        reader.note_truncation(horizon_ms)
        log = [emit.value for emit in flow.outputs if emit.topic == topics.SEGMENTED]
        for record in log if since_ms is None else log[1:]:
            assert isinstance(record, Segmented)
            reader.add(0, record)
        flow.give("cli", reader.fill_records())
        flow.drain()
        values = traits(shards_of(_row(flow)), 4 * MINUTE_MS, world.config)
        assert values["count"] == (3 if since_ms is None else 2)
        assert values.get("count.since") == since_ms


def test_backfill_does_not_restore_a_forgotten_person() -> None:
    flow, versions = _flow("none", "all")
    world = _WORLDS["all"]
    reader = BackfillReader({}, world, versions)
    for emit in flow.outputs:
        if isinstance(emit.value, Segmented):
            reader.add(0, emit.value)
    fills = [
        begin_control(person, find_new_aggregates(versions), world) for person in _people(flow)
    ]
    fills += reader.fill_records()
    flow.put(forget(Identifier("cookie", "k"), 3 * MINUTE_MS))
    flow.drain()
    flow.give("cli", fills)
    flow.drain()
    assert not flow.rows["enrichment"]
    flow.put(_interaction(4))
    flow.give("cli", fills)
    flow.drain()
    assert traits(shards_of(_row(flow)), 5 * MINUTE_MS, world.config)["count"] == 1


def test_aggregate_unused_for_long_is_dropped_and_counts_from_now() -> None:
    # The four versions are eight days apart.
    flow, versions = _flow("all", "none", "none", "all")
    aggregate = next(iter(_WORLDS["all"].config.aggregates.by_key))
    assert not dropped_keys(versions[:2])
    assert aggregate in dropped_keys(versions[:3])
    assert not backfillable_keys(versions)
    assert not dropped_keys(versions)
    world = _WORLDS["none"]
    [shard] = _row(flow).shards.here.values()
    assert aggregate in shard.kept
    third_aggregates = find_new_aggregates(versions[:3])
    flow.give("cli", [begin_control(person, third_aggregates, world) for person in _people(flow)])
    flow.drain()
    [shard] = _row(flow).shards.here.values()
    assert (shard.kept, shard.begun, shard.sequences) == ({}, {}, {})
    rollout = plan([], versions[:3], _WORLDS["all"].config)
    assert set(rollout.counting_from_now) == set(_TRAIT_NAMES)
    assert not rollout.filled


def test_plan_names_traits_to_be_filled() -> None:
    _, versions = _flow("half")
    rollout = plan([], versions, _WORLDS["all"].config)
    assert set(rollout.filled) == set(_TRAIT_NAMES[1::2])
    assert not rollout.counting_from_now
    assert not plan([], versions, _WORLDS["half"].config).filled
    assert not plan([], (), _WORLDS["all"].config).counting_from_now
