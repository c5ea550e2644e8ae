"""A message goes exactly when every cap has room, also over merges and releases."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier
from pipeline.model.time import HOUR_MS
from pipeline.rules import Rules
from tests.support.cases import cases
from tests.support.deciding import ADA, Life, campaign, fates, hero, offer, problems, world

_COOKIE = (Identifier("cookie", "k"),)
_OFFERS = {"a": ("cards", "gold", 9), "b": ("cards", "plain", 8), "c": ("loans", "plain", 7)}


@dataclass(frozen=True)
class _DrawnCap:
    """Cap with its `scope`: a field and its value, or none."""

    per: str
    max: int
    window_hours: int
    scope: tuple[tuple[str, str], ...]

    def as_yaml(self, number: int) -> dict[str, object]:
        return {
            "cap": f"cap{number}",
            "per": self.per,
            "max": self.max,
            "window": f"{self.window_hours}h",
            "for": dict(self.scope),
        }

    def covers(self, name: str) -> bool:
        issue, group, _ = _OFFERS[name]
        own_scope = {"offer": name, "issue": issue, "group": group, "channel": "web"}
        return all(own_scope[field] == value for field, value in self.scope)

    def subject(self, name: str) -> str:
        issue, group, _ = _OFFERS[name]
        return {"offer": name, "issue": issue, "group": group}.get(self.per, "")


_caps = st.lists(
    st.builds(
        _DrawnCap,
        st.sampled_from(["offer", "group", "issue", "campaign", "channel", "all"]),
        st.integers(0, 3),
        st.integers(1, 12),
        st.sampled_from([(), (("issue", "cards"),), (("group", "plain"),), (("offer", "b"),)]),
    ),
    min_size=1,
    max_size=3,
)


@dataclass
class _CountedMessage:
    """Message of the oracle, sent to `customer` in `hour`."""

    offer: str
    hour: int
    customer: str
    is_counted: bool = True
    is_shown: bool = False

    def is_lost(self, confirm_hours: int | None, hour: int) -> bool:
        """Return whether the message can no longer be reported as shown."""
        return confirm_hours is not None and not self.is_shown and hour >= self.hour + confirm_hours


@settings(max_examples=cases(150), deadline=None)
@given(
    _caps,
    st.sampled_from([None, 3]),
    st.lists(st.integers(0, 30), min_size=1, max_size=25),
    st.data(),
)
def test_message_goes_exactly_when_every_cap_has_room(
    caps: list[_DrawnCap], confirm_hours: int | None, hours: list[int], data: st.DataObject
) -> None:
    life = Life(_rules(caps, confirm_hours))
    messages: dict[str, _CountedMessage] = {}
    open_actions: list[Action] = []
    is_merged = False
    for hour in sorted(hours):
        time_ms = hour * HOUR_MS
        match data.draw(st.sampled_from(["ada", "cookie", "ada", "cookie", "merge", "outcome"])):
            case "merge":
                life.interact("Login", time_ms, identifiers=(*ADA, *_COOKIE))
                is_merged = True
            case "outcome" if open_actions:
                action = data.draw(st.sampled_from(open_actions))
                outcome = data.draw(st.sampled_from(["impression", "bounce", "expired"]))
                life.react(action, outcome, time_ms)
                _apply_outcome(messages[action.action_id], outcome)
            case customer:
                name = "ada" if customer == "ada" else "cookie"
                decision = life.interact(
                    "Home", time_ms, identifiers=ADA if name == "ada" else _COOKIE, ask=["hero"]
                )
                own_messages = [
                    message
                    for message in messages.values()
                    if (is_merged or message.customer == name)
                    and not message.is_lost(confirm_hours, hour)
                ]
                sent_offers = [action.offer for action in life.actions()]
                assert sent_offers == _expected_offers(caps, own_messages, hour), fates(decision)
                for sent_action in life.actions():
                    messages[sent_action.action_id] = _CountedMessage(sent_action.offer, hour, name)
                    open_actions.append(sent_action)


def _rules(caps: list[_DrawnCap], confirm_hours: int | None) -> Rules:
    offers = [
        offer(name, value, hero(f"{name}-hero"), issue=issue, group=group)
        for name, (issue, group, value) in _OFFERS.items()
    ]
    web = {"name": "web", "placements": ["hero"]}
    if confirm_hours is not None:
        web["confirm_within"] = f"{confirm_hours}h"
    return world(
        campaigns=[campaign("c", *offers)],
        policies={"caps": [cap.as_yaml(number) for number, cap in enumerate(caps)]},
        channels={"channels": [web]},
    )


def _apply_outcome(message: _CountedMessage, outcome: str) -> None:
    if outcome == "impression":
        message.is_counted = message.is_shown = True
    elif not message.is_shown:
        message.is_counted = False


def _expected_offers(
    caps: list[_DrawnCap], own_messages: list[_CountedMessage], hour: int
) -> list[str]:
    for name in _OFFERS:
        if all(_has_room(cap, name, own_messages, hour) for cap in caps):
            return [name]
    return []


def _has_room(cap: _DrawnCap, name: str, own_messages: list[_CountedMessage], hour: int) -> bool:
    """Return whether a message of the offer `name` may go in `hour` without exceeding a cap."""
    if not cap.covers(name):
        return True
    counted_messages = [
        message
        for message in own_messages
        if message.is_counted
        and cap.covers(message.offer)
        and cap.subject(message.offer) == cap.subject(name)
        and hour - cap.window_hours < message.hour <= hour
    ]
    return len(counted_messages) < cap.max


def test_slots_of_one_decision_count_for_each_other() -> None:
    banner = {"treatment": "banner", "channel": "web", "placement": "banner"}
    campaigns = [
        campaign("c", offer("o", 5, hero("hero"), banner, {"treatment": "m", "channel": "email"}))
    ]
    policies = {"caps": [{"cap": "once", "per": "offer", "max": 1, "window": "1d"}]}
    life = Life(world(campaigns=campaigns, policies=policies))
    decision = life.interact("Go", 0, ask=["banner", "hero"])
    assert life.treatments() == ["banner"]
    assert fates(decision) == {"banner": "chosen", "hero": "cap once", "m": "cap once"}


def test_caps_of_a_campaign_and_of_an_offer_cap_nothing_else() -> None:
    cap = {"cap": "own", "per": "all", "max": 1, "window": "1d"}
    campaigns = [
        campaign("c", offer("a", 9, hero("a-hero")), offer("b", 8, hero("b-hero")), caps=[cap]),
        campaign("d", offer("e", 7, hero("e-hero"), caps=[cap]), offer("f", 6, hero("f-hero"))),
    ]
    life = Life(world(campaigns=campaigns))
    treatments = []
    for time_ms in range(4):
        life.interact("Home", time_ms, ask=["hero"])
        treatments += life.treatments()
    assert treatments == ["a-hero", "e-hero", "f-hero", "f-hero"]


def test_problems_in_caps_are_named() -> None:
    cap = {"cap": "own", "per": "all", "max": 1, "window": "1d", "for": {"issue": "crads"}}
    campaigns = [campaign("c", offer("a", 9, issue="cards", caps=[cap, cap]))]
    assert [
        (place, "did you mean 'cards'" in message)
        for place, message in problems(campaigns=campaigns)
    ] == [
        ("campaigns/0/offers/0/caps/1/cap", False),
        ("campaigns/0/offers/0/caps/0/for/issue", True),
        ("campaigns/0/offers/0/caps/1/for/issue", True),
    ]
