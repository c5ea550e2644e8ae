"""Profiles that a configuration does not affect need not be evaluated by it."""

from hypothesis import given, settings
from msgspec.structs import replace

from pipeline.config import model
from pipeline.flow import Flow
from pipeline.model import topics
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import Emit
from pipeline.model.profile import SegmentChange
from pipeline.rollout.affected import AffectedProfiles
from pipeline.rollout.reevaluate import refresh_control
from pipeline.rollout.versions import Version
from tests.property.test_rollout_plan import collect_member_profiles
from tests.support.segment_streams import END_MS, configuration, segments, streams
from tests.support.worlds import rules


def _changes(emits: list[Emit]) -> list[tuple[str, str, str, int]]:
    return sorted(
        (change.profile_id, change.segment, change.change, change.at)
        for change in (emit.value for emit in emits if emit.topic == topics.SEGMENT_CHANGES)
        if isinstance(change, SegmentChange)
    )


@settings(max_examples=40, deadline=None)
@given(segments(), segments(), streams(), streams())
def test_evaluating_affected_profiles_equals_evaluating_all(
    old_segments: tuple[model.Segment, ...],
    new_segments: tuple[model.Segment, ...],
    stream: list[Interaction],
    later_stream: list[Interaction],
) -> None:
    # Compared over the rollout itself, further interactions and time alone.
    current_rules, next_rules = (
        rules(configuration(old_segments)),
        rules(configuration(new_segments)),
    )
    versions = (Version(current_rules.config, 1), Version(next_rules.config, 2))
    results = []
    for evaluates_all in (True, False):
        flow = Flow(current_rules)
        emits = [emit for record in stream for emit in flow.run(record)]
        member_profiles = collect_member_profiles(emits)
        affected_profiles = AffectedProfiles(versions)
        flow.rules = next_rules
        outputs: list[Emit] = []
        for person in member_profiles:
            if evaluates_all or affected_profiles.has(person):
                outputs += flow.follow(refresh_control(person, next_rules.config.digest))
        outputs += flow.advance(END_MS)
        for interaction in later_stream:
            time_ms = interaction.occurred_at + END_MS
            delayed_interaction = replace(
                interaction,
                event_id=f"later-{interaction.event_id}",
                occurred_at=time_ms,
                received_at=time_ms,
            )
            outputs += flow.advance(time_ms)
            outputs += flow.run(delayed_interaction)
        outputs += flow.advance(3 * END_MS)
        results.append(_changes(outputs))
    assert results[0] == results[1]


@settings(max_examples=20, deadline=None)
@given(segments(), streams())
def test_caps_affect_no_profile_and_a_first_version_affects_all(
    drawn_segments: tuple[model.Segment, ...], stream: list[Interaction]
) -> None:
    base = configuration(drawn_segments)
    flow = Flow(rules(base))
    member_profiles = collect_member_profiles(
        [emit for record in stream for emit in flow.run(record)]
    )
    caps = (model.Cap("weekly", "all", 3, "7d"),)
    changed_rules = rules(replace(base, policies=model.Policies(caps=caps)))
    versions = (Version(rules(base).config, 1), Version(changed_rules.config, 2))
    assert not any(map(AffectedProfiles(versions).has, member_profiles))
    affected_by_first_version = AffectedProfiles(versions[1:])
    assert all(map(affected_by_first_version.has, member_profiles))
