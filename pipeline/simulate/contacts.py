"""Reactions of customers to messages, and the policy that sends these in files.

The policy is randomised and logs the probability of what it chose, also where it chose nothing
(`Message Withheld`). Call-centre agents choose for themselves, and log nothing of the kind.
"""

from dataclasses import dataclass

from pipeline.model.interaction import Identifier, Scalar
from pipeline.model.time import HOUR_MS, MINUTE_MS
from pipeline.simulate.customers import SimulatedCustomer
from pipeline.simulate.diary import Diary, Scene
from pipeline.simulate.draws import Draws
from pipeline.simulate.offers import NOTHING, WINDOW_MS, Arm, BankOffer

SENT, SEEN, CLICKED, WITHHELD = (
    "Message Sent",
    "Message Seen",
    "Message Clicked",
    "Message Withheld",
)


@dataclass(frozen=True, slots=True)
class Reception:
    """Reaction of a customer to one message."""

    seen: bool
    clicked: bool
    persuaded: bool


@dataclass(frozen=True, slots=True)
class Meeting:
    """Moment at which an offer may be made to a customer; `identifiers`: those that its events
    name. `policy`: whether the world's own policy decides; without it nobody is contacted."""

    offer: BankOffer
    at: int
    identifiers: tuple[Identifier, ...]
    policy: bool


def reception(arm: Arm, draws: Draws) -> Reception:
    """Draw the reaction to a message: who clicked has seen it, who was persuaded has clicked."""
    clicked = draws.happens(arm.click, "clicks")
    only_seen = (arm.seen - arm.click) / (1 - arm.click)
    seen = clicked or draws.happens(only_seen, "sees")
    persuaded = clicked and draws.happens(arm.persuaded, "is persuaded")
    return Reception(seen, clicked, persuaded)


def reaches_anyway(offer: BankOffer, who: SimulatedCustomer) -> bool:
    """Return whether the customer reaches the offer's goal without any contact."""
    return who.draws.happens(offer.anyway[who.intent], f"{offer.offer} anyway")


def meet(diary: Diary, meeting: Meeting) -> int | None:
    """Decide, contact and react; return when the customer reaches the goal, if ever."""
    offer, draws = meeting.offer, diary.who.draws
    anyway = reaches_anyway(offer, diary.who)
    channel = _choose(diary.who, meeting)
    persuaded_at = None
    if channel != NOTHING:
        persuaded_at = _contact(diary, meeting, channel)
    elif meeting.policy and not offer.agents:
        scene = Scene("api", WITHHELD, meeting.identifiers)
        diary.note(meeting.at, scene, **log_fields(offer, NOTHING))
    if anyway:
        wait = draws.exponential(12 * HOUR_MS, f"{offer.offer} wait")
        return _within(meeting, meeting.at + 5 * MINUTE_MS + round(wait))
    if persuaded_at is None:
        return None
    wait = draws.exponential(4 * HOUR_MS, f"{offer.offer} wait")
    return _within(meeting, persuaded_at + MINUTE_MS + round(wait))


def _within(meeting: Meeting, at: int) -> int:
    return min(at, meeting.at + WINDOW_MS - MINUTE_MS)


def _choose(who: SimulatedCustomer, meeting: Meeting) -> str:
    offer = meeting.offer
    if not meeting.policy:
        return NOTHING
    if offer.agents:
        called = who.draws.happens(offer.agents[who.intent], f"{offer.offer} called")
        return "call" if called else NOTHING
    return who.draws.choice(offer.shares, f"{offer.offer} arm")


def _contact(diary: Diary, meeting: Meeting, channel: str) -> int | None:
    """Write the message down; return when it was clicked by somebody whom it persuaded."""
    offer = meeting.offer
    arm = offer.arms[channel]
    taken = reception(arm, diary.who.draws.about(offer.offer))
    sent_at = meeting.at + arm.after_ms
    seen_at = sent_at + _delay(diary, meeting, channel)
    clicked_at = seen_at + MINUTE_MS
    about = log_fields(offer, channel)
    for happened, at, name in (
        (True, sent_at, SENT),
        (taken.seen, seen_at, SEEN),
        (taken.clicked, clicked_at, CLICKED),
    ):
        if happened:
            diary.note(at, Scene(channel, name, meeting.identifiers), **about)
    return clicked_at if taken.persuaded else None


def _delay(diary: Diary, meeting: Meeting, channel: str) -> int:
    """Return the time (ms) until a message is seen: of an e-mail later, of others at once."""
    if channel != "email":
        return 2_000
    return round(diary.who.draws.exponential(3 * HOUR_MS, f"{meeting.offer.offer} reads"))


def log_fields(offer: BankOffer, channel: str) -> dict[str, Scalar]:
    """Return a message's fields in the log; one sent by an agent's choice has no propensity."""
    about: dict[str, Scalar] = {
        "campaign": offer.campaign,
        "offer": offer.offer,
        "treatment": NOTHING if channel == NOTHING else f"{offer.offer}-{channel}",
        "channel": channel,
    }
    if offer.agents:
        return {**about, "chosen_by": "agent"}
    return {**about, "propensity": offer.shares[channel]}
