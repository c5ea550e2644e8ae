"""Contact history stays with the shard whose interaction caused it, however profiles merge and
part."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.flow import Flow
from pipeline.model.decision import Action
from pipeline.model.interaction import DecideRequest, Interaction
from pipeline.model.stages import Segmented
from tests.support.cases import cases
from tests.support.identity_streams import MINUTE_MS, NAMES, Record, interactions, unlink_request
from tests.support.offers import offering_rules


@st.composite
def streams(draw: st.DrawFn) -> list[Record]:
    """Draw interactions that ask for an offer, and now and then the removal of a link."""
    stream: list[Record] = []
    for minute in range(1, draw(st.integers(2, 16)) + 1):
        if draw(st.integers(0, 3)) == 0:
            name, other_name = draw(st.permutations(NAMES))[:2]
            stream.append(unlink_request(name.key, other_name.key, minute * MINUTE_MS))
        else:
            deadline_at = minute * MINUTE_MS + 100
            request = DecideRequest(f"r{minute}", "gateway", ("hero",), deadline_at)
            stream.append(replace(draw(interactions(minute)), request=request))
    return stream


@settings(max_examples=cases(150), deadline=None)
@given(streams())
def test_each_contact_is_kept_once_in_the_shard_of_its_cause(stream: list[Record]) -> None:
    flow = Flow(offering_rules())
    shards_by_event: dict[str, str] = {}
    events_by_action: dict[str, str] = {}
    for record in stream:
        for emit in flow.run(record):
            if isinstance(emit.value, Segmented) and emit.value.interaction is not None:
                assert emit.value.identity is not None
                shards_by_event[emit.value.interaction.event_id] = emit.value.identity.shard
            if isinstance(emit.value, Action):
                assert isinstance(record, Interaction)
                events_by_action[emit.value.action_id] = record.event_id
    contacts = [
        (contact.action_id, name, profile)
        for profile, row in flow.rows["decisioning"].items()
        for name, part in row.shards.here.items()
        for contact in part.contacts
    ]
    profiles_by_shard = {
        name: profile
        for profile, row in flow.rows["enrichment"].items()
        for name in row.shards.here
    }
    shards_by_action = {
        action: shards_by_event[event] for action, event in events_by_action.items()
    }
    assert sorted(contacts) == sorted(
        (action, name, profiles_by_shard[name]) for action, name in shards_by_action.items()
    )
