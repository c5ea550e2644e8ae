"""Memberships equal brute force at every moment, also those that time alone changes.

The oracle has no index, due moments or rows: it evaluates every segment after every interaction and
at every millisecond.
"""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.conditions import Condition, Facts
from pipeline.conditions.compile import Test, compile
from pipeline.conditions.reads import patterns
from pipeline.conditions.tree import (
    Absence,
    All,
    Any,
    Check,
    Compare,
    EventField,
    Not,
    Property,
    Sequence,
)
from pipeline.config import model
from pipeline.config.compile import Configuration
from pipeline.flow import Flow
from pipeline.identity.record_factory import profile_of
from pipeline.model import topics
from pipeline.model.interaction import FactValue, Identifier, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.profile import SegmentChange
from pipeline.model.stages import Segmented
from tests.support.segment_streams import (
    END_MS,
    ORDER_WINDOW_MS,
    WINDOWS,
    configuration,
    segments,
    streams,
)
from tests.support.worlds import rules

Change = tuple[int, str, str, str]
"""Time, profile root, segment, and `entered` or `exited`."""


class _BruteForceOracle:
    """Traits, history and memberships of each root: each cookie has one profile."""

    def __init__(self, config: Configuration) -> None:
        self.changes: Counter[Change] = Counter()
        self._config = config
        self._traits: dict[str, dict[str, FactValue]] = {}
        self._members: dict[str, set[str]] = {}
        self._history: dict[str, list[Interaction]] = {}

    def add(self, record: Interaction) -> None:
        """Count an interaction at its receipt, and evaluate its profile."""
        root, now_ms = record.identifiers[0].key, record.received_at
        traits = self._traits.setdefault(root, {"orders": None})
        traits[f"last_{record.name.lower()}"] = now_ms
        traits["page"] = record.properties["page"]
        if record.name == "Order":
            traits["orders"] = (traits["orders"] or 0) + 1  # type: ignore[operator]
        history = self._history.setdefault(root, [])
        history.append(record)
        traits.update(_pattern_traits(history, self._config))
        self._evaluate(root, record, now_ms)

    def pass_time(self, begin_ms: int, last_ms: int) -> None:
        """Evaluate every profile at each millisecond from `begin_ms` to `last_ms`, inclusive."""
        for now_ms in range(begin_ms, last_ms + 1):
            for root in self._traits:
                self._evaluate(root, None, now_ms)

    def _evaluate(self, root: str, interaction: Interaction | None, now_ms: int) -> None:
        old_members, new_members = self._members.get(root, set()), set[str]()
        traits = self._traits[root]
        counts = _count_events(self._history[root], now_ms)
        traits.update(counts)
        traits["tier"] = 1 + min(counts["recent_orders"], 2)
        viewed_at = traits.get("last_view")
        if isinstance(viewed_at, int):
            traits["freshness"] = 1 + (now_ms - viewed_at < 8) + (now_ms - viewed_at < 3)
        facts = Facts(interaction, traits, new_members, frozenset(), now_ms)
        for segment in self._config.segments:
            verdict = _verdict(segment.condition.tree, facts)
            if segment.name in old_members if verdict is None else verdict:
                new_members.add(segment.name)
        self.changes.update((now_ms, root, name, "entered") for name in new_members - old_members)
        self.changes.update((now_ms, root, name, "exited") for name in old_members - new_members)
        self._members[root] = new_members


def brute_force_changes(
    stream: Iterable[Interaction], config: Configuration, last_ms: int
) -> Counter[Change]:
    """Return the changes of memberships until `last_ms` (inclusive)."""
    oracle, now_ms = _BruteForceOracle(config), 0
    for record in stream:
        oracle.pass_time(now_ms + 1, record.received_at)
        now_ms = record.received_at
        oracle.add(record)
    oracle.pass_time(now_ms + 1, last_ms)
    return oracle.changes


def _verdict(condition: Condition, facts: Facts) -> bool | None:
    """Return whether the condition holds, or None if that is unknown without an interaction."""
    match condition:
        case All(parts):
            return _conjunction([_verdict(part, facts) for part in parts])
        case Any(parts):
            return _negation(_conjunction([_negation(_verdict(part, facts)) for part in parts]))
        case Not(part):
            return _negation(_verdict(part, facts))
        case Compare(subject, checks):
            return _conjunction([_check(Compare(subject, (check,)), facts) for check in checks])
    return _test_of(condition)(facts)


def _check(compare: Compare, facts: Facts) -> bool | None:
    sides = (compare.subject, compare.checks[0].operand)
    reads_event = any(isinstance(side, Property | EventField) for side in sides)
    return None if reads_event and facts.interaction is None else _test_of(compare)(facts)


def _conjunction(verdicts: list[bool | None]) -> bool | None:
    return False if False in verdicts else None if None in verdicts else True


def _negation(verdict: bool | None) -> bool | None:
    return None if verdict is None else not verdict


@cache
def _test_of(leaf: Condition) -> Test:
    return compile(leaf).test


def _count_events(history: list[Interaction], now_ms: int) -> dict[str, int]:
    return {
        trait: sum(
            interaction.name == name and now_ms - window < interaction.occurred_at <= now_ms
            for interaction in history
        )
        for trait, (name, window) in WINDOWS.items()
    }


def _pattern_traits(history: list[Interaction], config: Configuration) -> dict[str, int]:
    """Return times (ms) by trait: of the latest completion of each sequence, found by trying every
    choice of steps, and of the latest match of each part of an absence."""
    moments: dict[str, int] = {}
    for pattern in (
        pattern for segment in config.segments for pattern in patterns(segment.condition.tree)
    ):
        if isinstance(pattern, Absence):
            for part, trait in zip((pattern.after, pattern.of), pattern.traits, strict=True):
                times = [
                    interaction.occurred_at
                    for interaction in history
                    if _is_match(part, interaction)
                ]
                moments.update({trait: max(times)} if times else {})
        else:
            completion_times = [
                history[indices[-1]].occurred_at
                for indices in combinations(range(len(history)), len(pattern.steps))
                if _is_sequence(history, indices, pattern)
            ]
            moments.update({pattern.trait: max(completion_times)} if completion_times else {})
    return moments


def _is_sequence(history: list[Interaction], indices: tuple[int, ...], pattern: Sequence) -> bool:
    first, last = indices[0], indices[-1]
    inner_interactions = history[first + 1 : last + 1]
    return (
        all(map(_is_match, pattern.steps, (history[index] for index in indices)))
        and history[last].occurred_at - history[first].occurred_at <= pattern.within_ms
        and not (
            pattern.exclusion
            and any(_is_match(pattern.exclusion, interaction) for interaction in inner_interactions)
        )
    )


def _is_match(condition: Condition, interaction: Interaction) -> bool:
    match condition:
        case Compare(_, (Check("in", (name,)),)):
            return interaction.name == name
    raise AssertionError(condition)


def changes_of(emits: list[Emit]) -> list[Change]:
    changes, roots = list[Change](), dict[str, str]()
    for emit in emits:
        if isinstance(emit.value, Segmented) and emit.value.identity is not None:
            roots[emit.key] = emit.value.identity.root
    for emit in emits:
        if isinstance(emit.value, SegmentChange):
            value = emit.value
            changes.append((value.at, roots[emit.key], value.segment, value.change))
    return changes


@given(segments(), streams(), st.sets(st.integers(1, END_MS)))
def test_memberships_are_those_of_brute_force_at_every_moment(
    drawn_segments: tuple[model.Segment, ...], stream: list[Interaction], ticks: set[int]
) -> None:
    # For any ticks of the clock, with and without a return of the customer.
    world = rules(configuration(drawn_segments))
    last_ms = END_MS + 30
    flow = Flow(world)
    emits: list[Emit] = []
    due_ticks = sorted(ticks)
    for record in stream:
        while due_ticks and due_ticks[0] < record.received_at:
            emits += flow.advance(due_ticks.pop(0))
        emits += flow.run(record)
    emits += flow.advance(last_ms)
    assert not flow.dead_letters
    changes = changes_of(emits)
    assert Counter(changes) == brute_force_changes(stream, world.config, last_ms)


@given(segments(), streams())
def test_all_changes_are_decided_also_those_by_time_alone(
    drawn_segments: tuple[model.Segment, ...], stream: list[Interaction]
) -> None:
    # The record of the interaction that caused a change names the change, and is decided.
    flow = Flow(rules(configuration(drawn_segments)))
    emits = [emit for record in stream for emit in flow.run(record)]
    emits += flow.advance(END_MS + 30)
    decided_ids = {emit.value.event_id for emit in emits if emit.topic == topics.DECISIONS}  # type: ignore[union-attr]
    recorded_changes = {
        (emit.value.interaction.event_id, name, kind)
        for emit in emits
        if isinstance(emit.value, Segmented) and emit.value.interaction is not None
        for kind, names in _changes(emit.value)
        for name in names
    }
    changes = [emit.value for emit in emits if isinstance(emit.value, SegmentChange)]
    assert {(change.cause, change.segment, change.change) for change in changes} == recorded_changes
    assert {cause for cause, _, _ in recorded_changes} <= decided_ids


def _changes(record: Segmented) -> Iterable[tuple[str, tuple[str, ...]]]:
    assert record.segments is not None
    return (("entered", record.segments.entered), ("exited", record.segments.exited))


@given(segments(), streams(), st.data())
def test_segment_of_a_channel_is_evaluated_by_its_interactions_and_by_time(
    drawn_segments: tuple[model.Segment, ...], stream: list[Interaction], data: st.DataObject
) -> None:
    # Interactions of other channels change no segment.
    channel_flow = Flow(
        rules(
            configuration(tuple(replace(segment, channels=("web",)) for segment in drawn_segments))
        )
    )
    unrestricted_flow = Flow(rules(configuration(drawn_segments)))
    for record in stream:
        arrival = replace(record, channel=data.draw(st.sampled_from(["web", "pos"])))
        changes = _changes_by(arrival, list(channel_flow.run(arrival)))
        for _ in unrestricted_flow.run(arrival):
            pass
        if arrival.channel == "web":
            assert _members(channel_flow, arrival) == _members(unrestricted_flow, arrival)
        else:
            assert not changes


def _changes_by(arrival: Interaction, emits: list[Emit]) -> list[SegmentChange]:
    changes = [emit.value for emit in emits if isinstance(emit.value, SegmentChange)]
    return [change for change in changes if change.cause == arrival.event_id]


def _members(flow: Flow, arrival: Interaction) -> set[str]:
    return set(flow.rows["segmentation"][profile_of(arrival.identifiers[0].key)].members)


def test_timers_of_one_moment_change_segments_together() -> None:
    # The order leaves its window in the same millisecond in which the view becomes older than 1 ms.
    condition = {
        "all": [{"trait": "last_view", "older_than": "1ms"}, {"trait": "recent_orders", "gte": 1}]
    }
    world = rules(configuration((model.Segment("s", condition),)))
    visitor = (Identifier("cookie", "k"),)
    stream = [
        Interaction(f"e{at_ms}", "track", name, "web", "log", at_ms, at_ms, visitor, {"page": 0})
        for name, at_ms in (("Order", 1), ("View", ORDER_WINDOW_MS))
    ]
    flow = Flow(world)
    emits = [emit for record in stream for emit in flow.run(record)]
    emits += flow.advance(END_MS)
    assert not brute_force_changes(stream, world.config, END_MS)
    assert not changes_of(emits)
