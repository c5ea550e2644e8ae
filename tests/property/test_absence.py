"""Effects after the workers' downtime equal those without it, in moments and order too."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.config import model
from pipeline.flow import Flow
from pipeline.model import topics
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.profile import SegmentChange
from pipeline.model.stages import Segmented
from pipeline.rules import Rules
from tests.support.cases import cases
from tests.support.killed import KilledStages, Logs
from tests.support.segment_streams import END_MS, configuration, segments, streams
from tests.support.worlds import rules

_END = END_MS + 30
_MINUTE_MS = 60_000
_WALL_CLOCK_SOURCES = model.Sources((model.Source("log", "web", "write-key-1"),))


def _mailing_world(segments: tuple[model.Segment, ...]) -> Rules:
    """Return rules that run by the wall clock and mail customers who enter any of the segments."""
    bundle = configuration(segments)
    campaigns = tuple(
        model.Campaign(
            f"on-{segment.segment}",
            (
                model.Offer(
                    f"o-{segment.segment}", 1.0, (model.Treatment(f"t-{segment.segment}", "email"),)
                ),
            ),
            trigger={"entered": segment.segment},
        )
        for segment in segments
    )
    return rules(
        replace(
            bundle,
            sources=_WALL_CLOCK_SOURCES,
            channels=model.Channels((*bundle.channels.channels, model.Channel("email"))),
            campaigns=campaigns,
        )
    )


def _changes(emits: Iterable[Emit]) -> dict[str, list[Any]]:
    """Return by profile, in order, the changes of segments and the segmented interactions, without
    the time of evaluation."""
    results: dict[str, list[Any]] = defaultdict(list)
    for emit in emits:
        match emit.value:
            case SegmentChange() as change:
                results[emit.key].append(change)
            case Segmented(
                interaction=Interaction() as interaction, profile=profile, segments=section
            ):
                results[emit.key].append(
                    (interaction.event_id, interaction.occurred_at, profile, section)
                )
            case _:
                pass
    return dict(results)


def _mails(emits: Iterable[Emit]) -> dict[str, list[tuple[str, str]]]:
    """Return the mails of each profile, in order: event id and campaign."""
    mails: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for emit in emits:
        if isinstance(emit.value, Action):
            mails[emit.key].append((emit.value.event_id, emit.value.campaign))
    return dict(mails)


def _run(world: Rules, stream: Sequence[Interaction], ticks: Iterable[int]) -> list[Emit]:
    """Return all outputs when due timers are looked for only at the moments of `ticks`."""
    flow, due_ticks, emits = Flow(world), sorted(ticks), list[Emit]()
    for record in stream:
        while due_ticks and due_ticks[0] < record.received_at:
            emits += flow.advance(due_ticks.pop(0))
        emits += flow.run(record)
    for tick in due_ticks:
        emits += flow.advance(tick)
    assert not flow.dead_letters
    return emits


@given(segments(), streams(), st.sets(st.integers(1, _END)))
def test_absence_alters_neither_changes_of_segments_nor_their_order(
    drawn_segments: tuple[model.Segment, ...], stream: list[Interaction], ticks: set[int]
) -> None:
    # Due timers are looked for at every moment, at some moments, and only at the end.
    world = _mailing_world(drawn_segments)
    prompt_run = _run(world, stream, range(1, _END + 1))
    for look_times in ({*ticks, _END}, {_END}):
        delayed_run = _run(world, stream, look_times)
        assert _changes(delayed_run) == _changes(prompt_run)
        assert _mails(delayed_run) == _mails(prompt_run)


@given(segments(), streams())
def test_timers_overdue_beyond_the_action_age_change_memberships_and_send_nothing(
    drawn_segments: tuple[model.Segment, ...], stream: list[Interaction]
) -> None:
    world = _mailing_world(drawn_segments)
    prompt_run = _run(world, stream, range(1, _END + 1))
    late_run = _run(world, stream, [_END + world.max_action_age_ms])
    assert _changes(late_run) == _changes(prompt_run)
    assert _mails(late_run) == _mails(_run(world, stream, ()))


def test_overdue_moments_are_evaluated_with_the_traits_of_their_own_time() -> None:
    # The visit leaves the windows of one and two minutes before it is three minutes old.
    def count_condition(window: int) -> dict[str, Any]:
        return {"trait": f"n{window}", "gte": 1}

    definitions = [
        model.TraitDefinition(f"n{window}", "count", window=f"{window}m", when={"name": "Visit"})
        for window in (1, 2)
    ]
    segments = (
        model.Segment("minute", count_condition(1)),
        model.Segment("pair", {"all": [{"segment": "minute"}, count_condition(2)]}),
        model.Segment(
            "never", {"all": [count_condition(2), {"trait": "last_seen", "older_than": "3m"}]}
        ),
    )
    profile = model.ProfileRules(tuple(definitions))
    bundle = replace(configuration(segments), sources=_WALL_CLOCK_SOURCES, profile=profile)
    visit = Interaction("e", "track", "Visit", "web", "log", 1, 1, (Identifier("cookie", "k"),), {})
    single_look_emits = _run(rules(bundle), [visit], [4 * _MINUTE_MS + 1])
    minutely_emits = _run(rules(bundle), [visit], range(1, 5 * _MINUTE_MS, _MINUTE_MS))
    assert _changes(single_look_emits) == _changes(minutely_emits)
    changes = [
        record.value for record in single_look_emits if isinstance(record.value, SegmentChange)
    ]
    assert [(change.segment, change.change, change.at) for change in changes] == [
        ("minute", "entered", 1),
        ("pair", "entered", 1),
        ("minute", "exited", _MINUTE_MS + 1),
        ("pair", "exited", _MINUTE_MS + 1),
    ]


@settings(max_examples=cases(30))
@given(segments(), streams(), st.integers(0, 2**32 - 1))
def test_returning_workers_write_the_changes_of_an_undisturbed_run(
    drawn_segments: tuple[model.Segment, ...], stream: list[Interaction], seed: int
) -> None:
    # The stages run as processes in any order, some killed; timers are looked for only at the end.
    world, logs = _mailing_world(drawn_segments), Logs(2)
    for record in stream:
        logs.put(record)
    stages = KilledStages(world, logs, Random(seed))
    stages.run(kill_percent=5)
    previous_kills = None
    while previous_kills != stages.kill_count:
        previous_kills = stages.kill_count
        stages.fire_due_timers(_END)
        stages.run(kill_percent=0)
    changes_by_key: dict[str, list[SegmentChange]] = defaultdict(list)
    for key, change in logs.read(topics.SEGMENT_CHANGES):
        if change not in changes_by_key[key]:
            changes_by_key[key].append(change)
    assert changes_by_key == {
        key: changes
        for key, all_changes in _changes(_run(world, stream, range(1, _END + 1))).items()
        if (changes := [change for change in all_changes if isinstance(change, SegmentChange)])
    }
