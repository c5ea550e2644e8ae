"""Reactions of customers to messages, and the policy that sends messages in a world of files.

The policy is randomised and logs the probability of its choice, also of choosing nothing (`Message
Withheld`). Call-centre agents choose for themselves, and log no probability.
"""

from dataclasses import dataclass

from pipeline.model.interaction import Identifier, Scalar
from pipeline.model.time import HOUR_MS, MINUTE_MS
from pipeline.simulate.customers import SimulatedCustomer
from pipeline.simulate.diary import Diary, DiaryEvent
from pipeline.simulate.draws import Draws
from pipeline.simulate.offers import NOTHING, WINDOW_MS, Arm, BankOffer

SENT_EVENT, SEEN_EVENT, CLICKED_EVENT, WITHHELD_EVENT = (
    "Message Sent",
    "Message Seen",
    "Message Clicked",
    "Message Withheld",
)


@dataclass(frozen=True, slots=True)
class MessageReaction:
    """Reaction of a customer to one message."""

    is_seen: bool
    is_clicked: bool
    is_persuaded: bool


@dataclass(frozen=True, slots=True)
class ContactMoment:
    """Moment at which an offer may be made to a customer; `identifiers`: those in its events.
    `policy`: whether the world's own policy decides; without it nobody is contacted."""

    offer: BankOffer
    at: int
    identifiers: tuple[Identifier, ...]
    policy: bool


def draw_reaction(arm: Arm, draws: Draws) -> MessageReaction:
    """Draw the reaction to a message: a click implies a view, persuasion implies a click."""
    is_clicked = draws.happens(arm.click, "clicks")
    view_without_click_chance = (arm.view - arm.click) / (1 - arm.click)
    is_seen = is_clicked or draws.happens(view_without_click_chance, "sees")
    is_persuaded = is_clicked and draws.happens(arm.persuasion, "is persuaded")
    return MessageReaction(is_seen, is_clicked, is_persuaded)


def reaches_anyway(offer: BankOffer, customer: SimulatedCustomer) -> bool:
    """Return whether the customer reaches the offer's goal without any contact."""
    return customer.draws.happens(offer.base_rates[customer.intent], f"{offer.offer} anyway")


def meet(diary: Diary, moment: ContactMoment) -> int | None:
    """Decide, contact and react; return the time at which the customer reaches the goal, or
    None."""
    offer, draws = moment.offer, diary.customer.draws
    channel = _draw_channel(diary.customer, moment)
    persuaded_at = None
    if channel != NOTHING:
        persuaded_at = _contact(diary, moment, channel)
    elif moment.policy and not offer.agent_chances:
        event = DiaryEvent("api", WITHHELD_EVENT, moment.identifiers)
        diary.note(moment.at, event, **log_fields(offer, NOTHING))
    if reaches_anyway(offer, diary.customer):
        wait = draws.exponential(12 * HOUR_MS, f"{offer.offer} wait")
        return _limit_to_window(moment, moment.at + 5 * MINUTE_MS + round(wait))
    if persuaded_at is None:
        return None
    wait = draws.exponential(4 * HOUR_MS, f"{offer.offer} wait")
    return _limit_to_window(moment, persuaded_at + MINUTE_MS + round(wait))


def _limit_to_window(moment: ContactMoment, at: int) -> int:
    return min(at, moment.at + WINDOW_MS - MINUTE_MS)


def _draw_channel(customer: SimulatedCustomer, moment: ContactMoment) -> str:
    offer = moment.offer
    if not moment.policy:
        return NOTHING
    if offer.agent_chances:
        is_called = customer.draws.happens(
            offer.agent_chances[customer.intent], f"{offer.offer} called"
        )
        return "call" if is_called else NOTHING
    return customer.draws.choice(offer.shares, f"{offer.offer} arm")


def _contact(diary: Diary, moment: ContactMoment, channel: str) -> int | None:
    """Log the message and the reaction to it; return the time of a click by a persuaded customer,
    or None."""
    offer = moment.offer
    arm = offer.arms[channel]
    reaction = draw_reaction(arm, diary.customer.draws.part(offer.offer))
    sent_at = moment.at + arm.delay_ms
    seen_at = sent_at + _draw_delay(diary, moment, channel)
    clicked_at = seen_at + MINUTE_MS
    fields = log_fields(offer, channel)
    for occurs, at, name in (
        (True, sent_at, SENT_EVENT),
        (reaction.is_seen, seen_at, SEEN_EVENT),
        (reaction.is_clicked, clicked_at, CLICKED_EVENT),
    ):
        if occurs:
            diary.note(at, DiaryEvent(channel, name, moment.identifiers), **fields)
    return clicked_at if reaction.is_persuaded else None


def _draw_delay(diary: Diary, moment: ContactMoment, channel: str) -> int:
    """Return the time (ms) until a message is seen: random for an e-mail, 2 s in other channels."""
    if channel != "email":
        return 2_000
    return round(diary.customer.draws.exponential(3 * HOUR_MS, f"{moment.offer.offer} reads"))


def log_fields(offer: BankOffer, channel: str) -> dict[str, Scalar]:
    """Return a message's fields in the log; one sent by an agent's choice has no propensity."""
    fields: dict[str, Scalar] = {
        "campaign": offer.campaign,
        "offer": offer.offer,
        "treatment": NOTHING if channel == NOTHING else f"{offer.offer}-{channel}",
        "channel": channel,
    }
    if offer.agent_chances:
        return {**fields, "chosen_by": "agent"}
    return {**fields, "propensity": offer.shares[channel]}
