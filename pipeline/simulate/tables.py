"""Rows of a customer's life for analysts: touches, onboarding cases, and logged decisions."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from pipeline.model.interaction import Scalar
from pipeline.simulate.contacts import CLICKED_EVENT, SEEN_EVENT, SENT_EVENT, WITHHELD_EVENT
from pipeline.simulate.events import WorldEvent
from pipeline.simulate.offers import OFFERS, SALES, STEPS, WINDOW_MS
from pipeline.simulate.onboarding import STARTED_EVENT
from pipeline.simulate.truth import POLICY_OFFER, q_logged, q_target, target_propensity
from pipeline.simulate.world import CustomerLife

TOUCHPOINTS: Final = (
    *("profile_id", "occurred_at", "channel", "kind", "value"),
    *("campaign", "message", "touch"),
)
JOURNEYS: Final = ("case_id", "occurred_at", "name", "channel")
PROMPTS: Final = (
    *("case_id", "occurred_at", "step", "channel"),
    *("message", "offer", "propensity", "tier"),
)
GOALS: Final = ("case_id", "occurred_at", "name", "channel")
POLICY: Final = ("reward", "propensity", "target_propensity", "q_logged", "q_target")

_TOUCHES: Final = {SENT_EVENT: "sent", SEEN_EVENT: "seen", CLICKED_EVENT: "clicked"}
_SALES_GOALS: Final = {offer.goal: offer for offer in SALES}
_STEP_NAMES: Final = {STARTED_EVENT, *(step.event for step in STEPS)}
_GOALS: Final = {offer.offer: offer.goal for offer in OFFERS}
_ONBOARDING: Final = STEPS[0].reminder.campaign
_DELAYS_MS: Final = {
    (offer.offer, channel): arm.delay_ms for offer in OFFERS for channel, arm in offer.arms.items()
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Row = tuple[Scalar, ...]


def touchpoints(life: CustomerLife) -> Iterator[Row]:
    """Yield messages as touches, and goals of sales offers as conversions with their value."""
    for event in life.events:
        properties = event.properties
        touch, goal = _TOUCHES.get(event.name), _SALES_GOALS.get(event.name)
        if touch is not None:
            labels = (properties["campaign"], properties["treatment"], touch)
            yield (life.profile_id, iso(event.at), event.channel, "touch", None, *labels)
        elif goal is not None:
            fields = (goal.value, goal.campaign, None, None)
            yield (life.profile_id, iso(event.at), event.channel, "conversion", *fields)


def journeys(life: CustomerLife) -> Iterator[Row]:
    """Yield the steps of onboarding, and the reminders that were sent between them."""
    for event in life.events:
        is_reminder = event.name == SENT_EVENT and event.properties["campaign"] == _ONBOARDING
        if event.name in _STEP_NAMES or is_reminder:
            yield (life.profile_id, iso(event.at), event.name, event.channel)


def prompts(life: CustomerLife) -> Iterator[Row]:
    """Yield decisions to send a message or none, each with the event that it aims at.

    Agents log the customers they called, but neither the others nor the probabilities.
    """
    for event in life.events:
        if event.name not in (SENT_EVENT, WITHHELD_EVENT):
            continue
        properties = event.properties
        offer, channel = str(properties["offer"]), str(properties["channel"])
        decided_at = event.at - _DELAYS_MS.get((offer, channel), 0)
        start = (life.profile_id, iso(decided_at), _GOALS[offer], channel)
        yield (
            *start,
            properties["treatment"],
            offer,
            properties.get("propensity"),
            life.customer.tier,
        )


def goals(life: CustomerLife) -> Iterator[Row]:
    """Yield every goal that was reached, of sales and of onboarding."""
    goal_names = _GOALS.values()
    for event in life.events:
        if event.name in goal_names:
            yield (life.profile_id, iso(event.at), event.name, event.channel)


def policy(life: CustomerLife, end_ms: int) -> Iterator[Row]:
    """Yield the decisions on the offer in `policy.csv` whose window ended within the world."""
    for event in life.events:
        if (
            event.name not in (SENT_EVENT, WITHHELD_EVENT)
            or event.properties["offer"] != POLICY_OFFER.offer
        ):
            continue
        channel = str(event.properties["channel"])
        decided_at = event.at - _DELAYS_MS.get((POLICY_OFFER.offer, channel), 0)
        if decided_at + WINDOW_MS <= end_ms:
            yield (
                int(any(_is_goal(event, decided_at) for event in life.events)),
                POLICY_OFFER.shares[channel],
                target_propensity(channel, life.customer.tier),
                round(q_logged(channel), 9),
                round(q_target(life.customer.tier), 9),
            )


def _is_goal(event: WorldEvent, decided_at: int) -> bool:
    return event.name == POLICY_OFFER.goal and decided_at < event.at <= decided_at + WINDOW_MS


def iso(at: int) -> str:
    """Format epoch ms as ISO 8601 in UTC."""
    return (_EPOCH + timedelta(milliseconds=at)).isoformat(timespec="milliseconds")
