"""A plan states exactly the effects of applying a configuration; for the configuration in force it
is empty."""

from collections import Counter
from collections.abc import Iterable

from hypothesis import given
from msgspec.structs import replace

from pipeline.config import model
from pipeline.flow import Flow
from pipeline.model import topics
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.profile import Memberships, Profile, SegmentChange
from pipeline.profile_reads.member_profiles import MemberProfile
from pipeline.rollout.plan import plan
from pipeline.rollout.reevaluate import refresh_control
from pipeline.rollout.versions import Version
from tests.support.deciding import Life, campaign, offer, world
from tests.support.segment_streams import configuration, segments, streams
from tests.support.worlds import rules


def collect_member_profiles(emits: Iterable[Emit]) -> list[MemberProfile]:
    """Return the latest profiles with their memberships."""
    latest = {(emit.topic, emit.key): emit.value for emit in emits}
    profiles = []
    for (topic, key), profile in latest.items():
        if topic == topics.PROFILES and isinstance(profile, Profile):
            members = latest.get((topics.MEMBERSHIPS, key))
            if isinstance(members, Memberships):
                updated_at = max(profile.updated_at, members.updated_at)
                profiles.append(MemberProfile(profile, members.segments, updated_at))
            else:
                profiles.append(MemberProfile(profile, {}, profile.updated_at))
    return profiles


@given(segments(), segments(), streams())
def test_plan_equals_the_effect_of_applying(
    current_segments: tuple[model.Segment, ...],
    next_segments: tuple[model.Segment, ...],
    stream: list[Interaction],
) -> None:
    # No time passes between plan and application. Memberships that depend on an interaction change
    # in neither.
    current = rules(configuration(current_segments))
    next_rules = rules(configuration(next_segments))
    flow = Flow(current)
    emits = [emit for record in stream for emit in flow.run(record)]
    member_profiles = collect_member_profiles(emits)
    versions = (Version(current.config, 1),)
    empty_plan = plan(member_profiles, versions, current.config)
    assert not empty_plan.changed
    assert all(segment.enter == segment.leave == 0 for segment in empty_plan.segments)

    rollout = plan(member_profiles, versions, next_rules.config)
    flow.rules = next_rules
    changes = [
        emit.value
        for member_profile in member_profiles
        for emit in flow.follow(refresh_control(member_profile, next_rules.config.digest))
        if isinstance(emit.value, SegmentChange)
    ]
    counts = Counter((change.segment, change.change) for change in changes)
    assert {
        (segment.segment, "entered"): segment.enter for segment in rollout.segments if segment.enter
    } == {key: count for key, count in counts.items() if key[1] == "entered"}
    assert {
        (segment.segment, "exited"): segment.leave for segment in rollout.segments if segment.leave
    } == {key: count for key, count in counts.items() if key[1] == "exited"}


def test_plan_marks_segments_whose_entries_are_unknown() -> None:
    # The unknown segments read a new trait; the aggregates of that trait exist already.
    base = configuration((model.Segment("old", {"trait": "interactions", "gte": 1}),))
    second_trait = model.TraitDefinition("again", "count", when={"name": "Order"})
    changed_bundle = replace(
        base,
        profile=model.ProfileRules((*base.profile.traits, second_trait)),
        segments=(
            *base.segments,
            model.Segment("new", {"trait": "again", "gte": 1}),
            model.Segment("behind", {"all": [{"segment": "new"}, {"segment": "old"}]}),
        ),
    )
    current, next_config = rules(base).config, rules(changed_bundle).config
    rollout = plan([], (Version(current, 1),), next_config)
    assert {segment.segment for segment in rollout.segments if segment.unknown} == {"new", "behind"}
    assert not any(
        segment.unknown for segment in plan([], (Version(current, 1),), current).segments
    )


def test_campaign_that_reaches_nobody_is_reported() -> None:
    mail = {"treatment": "mail", "channel": "email", "address": "email"}
    gold = {"trait": "tier", "is": "gold"}
    next_rules = world(
        traits=("tier", "points"),
        campaigns=[
            campaign("all", offer("a", 1)),
            campaign("gold", offer("b", 1), audience=gold),
            campaign("platinum", offer("c", 1), audience={"trait": "tier", "is": "platinum"}),
            campaign("mail", offer("d", 1, mail)),
            campaign("now", offer("e", 1), audience={"all": [gold, {"property": "x", "is": 1}]}),
            campaign("new", offer("f", 1), audience={"trait": "points", "gt": 9}),
        ],
    )
    former_rules = world(traits=("tier",), campaigns=[campaign("all", offer("a", 1))])
    life = Life(former_rules, (Identifier("customer_id", "ada"),))
    life.interact("Joined", 1_000, tier="gold")
    rollout = plan(
        collect_member_profiles(life.emits), (Version(former_rules.config, 1),), next_rules.config
    )
    assert {campaign.campaign: campaign.reach for campaign in rollout.campaigns} == {
        "all": 1, "gold": 1, "platinum": 0, "mail": 0, "now": 1, "new": 0
    }  # fmt: skip
    assert rollout.campaigns_without_reach() == ("mail", "platinum")
    assert plan([], (), next_rules.config).campaigns_without_reach() == ()
