"""The synthetic bank's messages as the records of a stack, also those that its policy or a holdout
withheld. Withheld ones have a drawn channel, so that channels can be compared."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.insights.goals import CampaignGoal
from pipeline.model.decision import Assignment, Candidate, Decision
from pipeline.model.interaction import Interaction
from pipeline.model.stages import Segmented
from pipeline.simulate.contacts import CLICKED_EVENT, SEEN_EVENT, SENT_EVENT, WITHHELD_EVENT
from pipeline.simulate.customers import customer
from pipeline.simulate.diary import Diary
from pipeline.simulate.life import meet_sales
from pipeline.simulate.offers import NOTHING, SALES, WINDOW_MS, BankOffer
from tests.support.campaign_goals import named_goal
from tests.support.replayed import as_segmented, decision, event

OFFERS = {sale.offer: sale for sale in SALES}
GOALS: tuple[CampaignGoal, ...] = tuple(
    named_goal(sale.campaign, sale.goal, WINDOW_MS) for sale in SALES
)
_OUTCOMES = {SEEN_EVENT: "impression", CLICKED_EVENT: "click"}


@dataclass(frozen=True)
class BankMeeting:
    """Customer who met an offer: whether they were held out, the channel of their message (a
    drawn one if it was withheld), and when they reached the goal."""

    customer: str
    offer: BankOffer
    at: int
    is_held: bool
    channel: str
    reached_at: int | None


@dataclass
class BankRecords:
    decisions: list[Decision]
    segmented: list[Segmented]
    meetings: list[BankMeeting]


def bank_records(seed: int, customers: int, days: int) -> BankRecords:
    records = BankRecords([], [], [])
    for index in range(customers):
        person = customer(seed, index)
        if not person.is_known:
            continue
        diary = Diary(seed, person, days)
        meet_sales(diary, None, True)
        _add_life(records, f"{seed}-{index}", diary)
    return records


def _add_life(records: BankRecords, name: str, diary: Diary) -> None:
    members = (diary.customer.tier,)
    goals = {sale.goal: sale.offer for sale in SALES}
    reached_at = {goals[event.name]: event.at for event in diary.events() if event.name in goals}
    for life_event in diary.events():
        event_id = f"{name}-{life_event.event_id}"
        if life_event.name in goals:
            value = OFFERS[goals[life_event.name]].value
            goal_event = event(event_id, life_event.name, life_event.at, value=value)
            records.segmented.append(as_segmented(name, goal_event, members))
        if life_event.name not in (SENT_EVENT, SEEN_EVENT, CLICKED_EVENT, WITHHELD_EVENT):
            continue
        offer = OFFERS[str(life_event.properties["offer"])]
        decision_name = f"{name}-{offer.offer}"
        if life_event.name in _OUTCOMES:
            outcome = event(
                event_id, _OUTCOMES[life_event.name], life_event.at, action_id=f"a-{decision_name}"
            )
            records.segmented.append(as_segmented(name, outcome, members))
            continue
        is_held = life_event.name == WITHHELD_EVENT
        channel = (
            _draw_channel(decision_name, offer)
            if is_held
            else str(life_event.properties["channel"])
        )
        at = life_event.at if is_held else life_event.at - offer.arms[channel].delay_ms
        records.meetings.append(
            BankMeeting(name, offer, at, is_held, channel, reached_at.get(offer.offer))
        )
        records.decisions.append(_decision(decision_name, name, records.meetings[-1]))
        records.segmented.append(as_segmented(name, _occasion(decision_name, at), members))


def _decision(decision_name: str, name: str, meeting: BankMeeting) -> Decision:
    offer, holdout = meeting.offer, f"campaign/{meeting.offer.campaign}"
    fate = f"held out by {holdout}" if meeting.is_held else "chosen"
    candidate = Candidate(
        "slot",
        offer.campaign,
        offer.offer,
        offer.offer,
        meeting.channel,
        offer.value,
        0.1,
        1.0,
        fate,
    )
    assignments = () if offer.agent_chances else (Assignment(holdout, meeting.is_held, meeting.at),)
    return decision(decision_name, name, meeting.at, candidate, holdouts=assignments)


def _occasion(event_id: str, at: int) -> Interaction:
    return event(event_id, "Home", at)


def _draw_channel(decision_name: str, offer: BankOffer) -> str:
    draw = int.from_bytes(hashlib.sha256(decision_name.encode()).digest()[:8]) / 2**64
    return next(_channels_from(offer, draw * (1 - offer.shares[NOTHING])))


def _channels_from(offer: BankOffer, draw: float) -> Iterator[str]:
    for channel in offer.arms:
        draw -= offer.shares[channel]
        if draw < 0:
            yield channel
    yield list(offer.arms)[-1]
