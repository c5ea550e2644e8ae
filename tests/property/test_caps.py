"""Caps are not exceeded, and a decision can be repeated from its record."""

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.compile import CompiledCap
from pipeline.decisioning.state import ContactState, History
from pipeline.decisioning.step import step
from pipeline.flow import Flow
from pipeline.model import topics
from pipeline.model.decision import Action, Decision
from pipeline.model.interaction import DecideRequest, Identifier, Interaction, Scalar
from pipeline.model.outcome import Ok
from pipeline.model.shards import Shards
from pipeline.model.stages import Segmented
from tests.support.offers import offering_rules

_HOUR_MS = 3_600_000
_IDENTIFIERS = (Identifier("customer_id", "c"), Identifier("email", "c@example.com"))


@st.composite
def events(draw: st.DrawFn) -> list[tuple[str, int, str]]:
    """Draw events as (kind, hour, fate of the actions that the event causes)."""
    kinds = st.sampled_from(["Order", "ask"])
    fates = st.sampled_from(["none", "sent", "impression", "bounce", "expired"])
    hours = sorted(draw(st.lists(st.integers(0, 400), min_size=1, max_size=40)))
    return [(draw(kinds), hour, draw(fates)) for hour in hours]


def _interaction(number: int, kind: str, time_ms: int) -> Interaction:
    request = DecideRequest(f"r{number}", "g", ("hero",), time_ms + 100) if kind == "ask" else None
    name = "Order" if kind == "Order" else "Home"
    return Interaction(
        f"e{number}", "track", name, "web", "shop", time_ms, time_ms, _IDENTIFIERS, request=request
    )


def _outcome(action: Action, outcome: str, time_ms: int) -> Interaction:
    properties: dict[str, Scalar] = {"action_id": action.action_id}
    event_id = f"{action.action_id}/{outcome}"
    return Interaction(
        event_id,
        "outcome",
        outcome,
        action.channel,
        "shop",
        time_ms,
        time_ms,
        _IDENTIFIERS,
        properties,
    )


@settings(deadline=None)
@given(events())
def test_no_window_holds_more_messages_than_its_cap(stream: list[tuple[str, int, str]]) -> None:
    flow = Flow(offering_rules())
    actions: list[Action] = []
    for number, (kind, hour, fate) in enumerate(stream):
        time_ms = hour * _HOUR_MS
        for emit in list(flow.run(_interaction(number, kind, time_ms))):
            if isinstance(emit.value, Action):
                if fate not in ("bounce", "expired"):
                    actions.append(emit.value)
                if fate != "none":
                    list(flow.run(_outcome(emit.value, fate, time_ms)))
    for cap in offering_rules().config.caps:
        _check_cap(cap, actions)


def _check_cap(cap: CompiledCap, actions: list[Action]) -> None:
    counted_actions = [action for action in actions if cap.channel in (None, action.channel)]
    for group in {_group(cap, action) for action in counted_actions}:
        times = sorted(
            action.created_at for action in counted_actions if _group(cap, action) == group
        )
        for end in times:
            assert sum(end - cap.window_ms < time_ms <= end for time_ms in times) <= cap.max, cap


def _group(cap: CompiledCap, action: Action) -> str:
    groups = {"offer": action.offer, "campaign": action.campaign, "channel": action.channel}
    return groups.get(cap.per, "")


@settings(deadline=None)
@given(events())
def test_decision_repeated_from_its_record_is_the_same(stream: list[tuple[str, int, str]]) -> None:
    flow = Flow(offering_rules())
    for number, (kind, hour, _) in enumerate(stream):
        emits = list(flow.run(_interaction(number, kind, hour * _HOUR_MS)))
        for segmented, decision in _decisions(emits):
            history = Shards({"any": History(decision.contacts)})
            repeat = step(decision.profile_id, segmented, ContactState(history), offering_rules())
            assert isinstance(repeat, Ok)
            assert decision in [emit.value for emit in repeat.emits]


def _decisions(emits: list[object]) -> Iterator[tuple[Segmented, Decision]]:
    values = [getattr(emit, "value", None) for emit in emits]
    segmented_by_event = {
        value.interaction.event_id: value
        for value in values
        if isinstance(value, Segmented) and value.interaction is not None
    }
    for value in values:
        if isinstance(value, Decision):
            yield segmented_by_event[value.event_id], value


def test_decisions_are_written_to_their_topic() -> None:
    flow = Flow(offering_rules())
    emits = list(flow.run(_interaction(0, "Order", 0)))
    assert [emit.topic for emit in emits if isinstance(emit.value, Decision)] == [topics.DECISIONS]
    assert [emit.topic for emit in emits if isinstance(emit.value, Action)] == ["actions.email"]
