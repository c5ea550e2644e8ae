"""The synthetic bank's events through the stages in memory: the configuration of deploy/bank
decides, a learner counts, and customers react by the world's true effects.

Each message is kept with its true effect, with which an analysis can be compared."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from pipeline.adapters.config_files import load
from pipeline.config.model import Bundle
from pipeline.flow import Flow
from pipeline.model.decision import Action, Decision
from pipeline.model.interaction import DecideRequest, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.stages import Segmented
from pipeline.model.time import MINUTE_MS
from pipeline.rules import Rules
from pipeline.simulate.contacts import reaches_anyway
from pipeline.simulate.customers import SimulatedCustomer, customer
from pipeline.simulate.events import WorldEvent
from pipeline.simulate.offers import BankOffer
from pipeline.simulate.reactions import ContactAction, bank_offer, outcomes
from pipeline.simulate.world import WorldSize, customer_life
from tests.support.learning import MemoryLearner, teach

BANK: Final = Path(__file__).parents[2] / "deploy" / "bank"
_WAIT_MS: Final = 100
_DECISIONS_PER_SNAPSHOT: Final = 500
"""Decisions between two snapshots of the learner."""


def bank_bundle(**policies: Any) -> Bundle:
    """Return the configuration of deploy/bank, with other `policies`."""
    bundle = load(BANK, {})
    assert isinstance(bundle, Bundle), bundle
    return replace(bundle, policies=replace(bundle.policies, **policies))


@dataclass(frozen=True, slots=True)
class SentMessage:
    """Message to a customer. `chance`: probability that the message makes a customer reach the goal
    who would otherwise not reach it; `goal_at`: the time of reaching it (epoch ms)."""

    profile_id: str
    campaign: str
    at: int
    chance: float
    goal_at: int


class BankPlay:
    """Play of one world. With a `learner` the rules use its latest snapshot."""

    def __init__(self, rules: Rules, size: WorldSize, learner: MemoryLearner | None = None) -> None:
        self.flow = Flow(rules)
        self.decisions: list[Decision] = []
        self.segmented: list[Segmented] = []
        self.messages: list[SentMessage] = []
        self.customers: dict[str, SimulatedCustomer] = {}
        self._size = size
        self._learner = learner
        self._people: dict[str, int] = {}
        self._goals: set[tuple[int, str]] = set()
        self._due_reactions: list[tuple[int, int, Interaction]] = []
        self._count = 0

    def play(self) -> "BankPlay":
        """Play all events of the world, in the order of time."""
        for event in _events(self._size):
            self._react_until(event.at)
            self._handle(self.flow.advance(event.at))
            for identifier in event.identifiers:
                self._people[identifier.key] = event.person
            self._handle(self.flow.run(_as_interaction(event)), event.person)
        return self

    def _react_until(self, now_ms: int) -> None:
        while self._due_reactions and self._due_reactions[0][0] <= now_ms:
            at, _, reaction = heappop(self._due_reactions)
            self._handle(self.flow.advance(at))
            self._handle(self.flow.run(reaction))

    def _handle(self, emits: Iterable[Emit], person: int | None = None) -> None:
        for emit in emits:
            match emit.value:
                case Decision() as decision:
                    self.decisions.append(decision)
                    if person is not None:
                        self.customers[decision.profile_id] = self._customer(person)
                    self._learn(decision)
                case Segmented(interaction=Interaction()) as record:
                    self.segmented.append(record)
                case Action() as action:
                    self._react(action, emit.key)

    def _learn(self, decision: Decision) -> None:
        if self._learner is not None:
            self._learner.fold(decision)
            if len(self.decisions) % _DECISIONS_PER_SNAPSHOT == 0:
                self.flow.rules = teach(self.flow.rules, self._learner.publish())

    def _react(self, action: Action, profile_id: str) -> None:
        """Schedule the customer's reactions to the message: outcomes, and perhaps the goal."""
        person = self._people[action.identifier.key]
        simulated_customer = self._customer(person)
        contact = ContactAction(action.action_id, action.token, action.offer, action.channel)
        offer = bank_offer(contact)
        if offer is None:
            return
        arm = offer.arms[action.channel]
        seen_at = action.created_at + arm.delay_ms + MINUTE_MS
        may_be_moved = (
            not reaches_anyway(offer, simulated_customer)
            and (person, offer.offer) not in self._goals
        )
        goal_at = seen_at + MINUTE_MS
        chance = arm.contact_persuasion if may_be_moved else 0.0
        self.messages.append(
            SentMessage(profile_id, action.campaign, action.created_at, chance, goal_at)
        )
        for name in outcomes(contact, simulated_customer):
            if name != "conversion":
                self._schedule(seen_at, _outcome(action, name, seen_at))
            elif may_be_moved:
                self._goals.add((person, offer.offer))
                self._schedule(goal_at, _goal(offer, simulated_customer, action.action_id, goal_at))
                self._schedule(goal_at, _outcome(action, name, goal_at))

    def _schedule(self, at: int, interaction: Interaction) -> None:
        self._count += 1
        heappush(self._due_reactions, (at, self._count, interaction))

    def _customer(self, person: int) -> SimulatedCustomer:
        return _cached_customer(self._size.seed, person)


@lru_cache(100_000)
def _cached_customer(seed: int, person: int) -> SimulatedCustomer:
    return customer(seed, person)


def _events(size: WorldSize) -> Sequence[WorldEvent]:
    lives = (customer_life(size, index, policy=False).events for index in range(size.customers))
    return sorted((event for life in lives for event in life), key=lambda event: event.at)


def _as_interaction(event: WorldEvent) -> Interaction:
    interaction = event.interaction()
    if event.placement is None:
        return interaction
    request = DecideRequest(event.event_id, "gateway", (event.placement,), event.at + _WAIT_MS)
    return replace(interaction, request=request)


def _outcome(action: Action, name: str, at: int) -> Interaction:
    return Interaction(
        event_id=f"{action.action_id}-{name}",
        kind="outcome",
        name=name,
        channel=action.channel,
        source="adapters",
        occurred_at=at,
        received_at=at,
        identifiers=(action.identifier,),
        properties={"action_id": action.action_id},
    )


def _goal(offer: BankOffer, customer: SimulatedCustomer, action_id: str, at: int) -> Interaction:
    event = WorldEvent(
        at=at,
        person=customer.index,
        event_id=f"goal-{action_id}",
        kind="track",
        name=offer.goal,
        channel=offer.goal_channel,
        identifiers=(customer.customer_id if customer.is_known else customer.email,),
        properties={"value": offer.value, "offer": offer.offer},
    )
    return event.interaction()


@dataclass(frozen=True, slots=True)
class ChoiceRound:
    """Choice between treatments for one slot, or for one outbound campaign. `worth`: true worth of
    each treatment; `choice`: the one chosen, or None for no message; `prices`: value and cost of
    each."""

    worth: dict[str, float]
    choice: str | None
    prices: dict[str, tuple[float, float]]

    @property
    def regret(self) -> float:
        """Return the worth of the best choice less that of the choice made."""
        return self.best - self.value(self.choice)

    @property
    def best(self) -> float:
        """Return the worth of the best choice."""
        return max(0.0, *self.worth.values())

    @property
    def mean(self) -> float:
        """Return the mean worth of all choices, that of no message included."""
        return sum(self.worth.values()) / (len(self.worth) + 1)

    def value(self, treatment: str | None) -> float:
        """Return the worth of a treatment; that of none, or of one that was not eligible, is 0."""
        return self.worth.get(treatment or "", 0.0)


def choice_rounds(play: BankPlay) -> Iterator[ChoiceRound]:
    """Yield the choices between treatments, each chosen or beaten by another treatment."""
    for decision in play.decisions:
        customer = play.customers.get(decision.profile_id)
        groups: dict[str, dict[str, float]] = {}
        prices: dict[str, dict[str, tuple[float, float]]] = {}
        chosen_treatments: dict[str, str] = {}
        for candidate in decision.candidates:
            offer = bank_offer(ContactAction("", "", candidate.offer, candidate.channel))
            if customer is None or offer is None:
                continue
            outbound = candidate.channel in ("email", "call")
            group = candidate.campaign if outbound else candidate.slot
            if candidate.fate == "chosen" or candidate.fate.startswith("beaten by "):
                p = (1 - offer.mean_base_rate(customer.tier)) * offer.arms[
                    candidate.channel
                ].contact_persuasion
                groups.setdefault(group, {})[candidate.treatment] = (
                    p * candidate.value - candidate.cost
                )
                group_prices = prices.setdefault(group, {})
                group_prices[candidate.treatment] = candidate.value, candidate.cost
            if candidate.fate == "chosen":
                chosen_treatments[group] = candidate.treatment
        for group, worth in groups.items():
            if len(worth) > 1:
                yield ChoiceRound(worth, chosen_treatments.get(group), prices[group])
