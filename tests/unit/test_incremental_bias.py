"""Bias of incremental P: there is none, though some customers get many messages, some treatments go
to some customers only, and customers who have bought leave.

The world has known effects. A count by message, against all customers held out of the campaign,
would find half of the true effect of one treatment, and 0.08 for the other, which adds nothing.
"""

from functools import cache
from random import Random
from typing import Final, Literal, NamedTuple

import pytest
from msgspec.structs import replace

from pipeline.decisioning.state import ContactState
from pipeline.decisioning.step import step
from pipeline.flow import Flow
from pipeline.model.decision import Decision
from pipeline.model.interaction import DecideRequest, Interaction
from pipeline.model.outcome import Ok
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS
from pipeline.rules import Rules
from pipeline.rules.knowledge import Knowledge, knowledge_of
from tests.support.deciding import ADA, campaign, hero, offer, world
from tests.support.learning import MemoryLearner

_WINDOW_MS: Final = 3 * DAY_MS
_PERSUASION: Final = 0.2
"""Probability that a first message `plain` persuades a customer who would not buy without it."""


class _Kind(NamedTuple):
    """Kind of customers: number of visits, and probability that they buy without a message."""

    name: Literal["keen", "quiet"]
    visit_count: int
    base_chance: float


_KINDS: Final = (_Kind("keen", 5, 0.4), _Kind("quiet", 1, 0.05))
_OFFERS: Final = {"plain": "shoes", "flattering": "boots"}
_CUSTOMER_COUNT: Final = 5_000


@cache
def _rules() -> Rules:
    """Return rules with two treatments; one is for keen customers only, and has no effect."""
    keen_condition = {"property": "kind", "is": "keen"}
    sale = campaign(
        "sale",
        offer("shoes", 10, hero("plain", p=0.3)),
        offer("boots", 10, hero("flattering", p=0.3), when=keen_condition),
        goal={"when": {"name": "Bought"}, "window": "3d"},
        trigger={"name": "Never"},
        holdout=0.3,
        incremental=True,
    )
    learning = {"ramp": 0, "prior_trials": 2}
    return world(campaigns=[sale], policies={"learning": learning})


@cache
def _visit_record() -> Segmented:
    request = DecideRequest("r", "g", ("hero",), 2_000)
    interaction = Interaction(
        "e", "track", "Home", "web", "shop", 1_000, 1_000, ADA, request=request
    )
    emits = Flow(_rules()).run(interaction)
    return next(emit.value for emit in emits if isinstance(emit.value, Segmented))


class _Customer:
    """Customer who visits, is shown what is decided, and buys at most once."""

    def __init__(self, number: int, kind: _Kind, random: Random) -> None:
        self.first_message: str | None = None
        self.is_held_out = False
        self._profile = f"p{number}"
        self._kind = kind
        self._random = random
        self._state: ContactState | None = None
        self._event_count = 0

    def live(self, start_ms: int, learner: MemoryLearner) -> None:
        """Visit from `start_ms` on; send the purchase, which ends the visits, if there is one."""
        random, kind = self._random, self._kind
        delays = (random.random() * _WINDOW_MS * 0.9 for _ in range(kind.visit_count - 1))
        visit_times = sorted(round(start_ms + delay) for delay in (0, *delays))
        purchase_at: float = float("inf")
        if random.random() < kind.base_chance:
            purchase_at = start_ms + random.uniform(0.01, 0.99) * _WINDOW_MS
        for visit_ms in visit_times:
            if visit_ms >= purchase_at:
                break
            if self._visit(visit_ms, learner) == "plain" and random.random() < _PERSUASION:
                purchase_at = min(purchase_at, visit_ms + random.uniform(0.01, 0.1) * _WINDOW_MS)
        if purchase_at < float("inf"):
            self._send("Bought", round(purchase_at), learner)

    def _visit(self, visit_ms: int, learner: MemoryLearner) -> str | None:
        """Return the message that is shown, if it is the customer's first."""
        [choice] = self._send("Home", visit_ms, learner).choices
        is_first = self.first_message is None
        self.first_message = self.first_message or choice.treatment or choice.would_be
        self.is_held_out = self.is_held_out or choice.would_be is not None
        return choice.treatment if is_first else None

    def _send(self, name: str, time_ms: int, learner: MemoryLearner) -> Decision:
        record, self._event_count = _visit_record(), self._event_count + 1
        assert record.interaction is not None
        assert record.identity is not None
        own_record = replace(
            record,
            interaction=replace(
                record.interaction,
                event_id=f"{self._profile}-{self._event_count}",
                name=name,
                occurred_at=time_ms,
                received_at=time_ms,
                properties={"kind": self._kind.name},
                request=record.interaction.request if name == "Home" else None,
            ),
            identity=replace(record.identity, profile_id=self._profile),
        )
        outcome = step(self._profile, own_record, self._state, _rules())
        assert isinstance(outcome, Ok)
        self._state = outcome.state
        decision = next(emit.value for emit in outcome.emits if isinstance(emit.value, Decision))
        learner.fold(decision)
        return decision


class _LearnedWorld(NamedTuple):
    knowledge: Knowledge
    customers: list[tuple[_Kind, _Customer]]


@cache
def _measure_world() -> _LearnedWorld:
    learner, random, customers = MemoryLearner(), Random(3), []
    for number in range(_CUSTOMER_COUNT):
        kind = _KINDS[number % 2]
        customer = _Customer(number, kind, random)
        customer.live(1_000_000 + number, learner)
        customers.append((kind, customer))
    return _LearnedWorld(knowledge_of(learner.publish()), customers)


def _truth(treatment: str) -> float:
    """Return the effect of a treatment on the customers whose first message it is."""
    gain = _PERSUASION if treatment == "plain" else 0.0
    effects = [
        gain * (1 - kind.base_chance)
        for kind, customer in _measure_world().customers
        if customer.first_message == treatment and not customer.is_held_out
    ]
    return sum(effects) / len(effects)


@pytest.mark.parametrize("treatment", ["plain", "flattering"])
def test_added_probability_is_the_true_effect(treatment: str) -> None:
    knowledge, customers = _measure_world()
    evidence = knowledge.treatment_evidence(("sale", _OFFERS[treatment], treatment), "")
    rate = evidence.successes / evidence.trials
    base_rate = knowledge.base_rate(("sale", _OFFERS[treatment], treatment), "")
    held_out_count = sum(
        customer.is_held_out and customer.first_message == treatment for _, customer in customers
    )
    sigma = (
        rate * (1 - rate) / evidence.trials + base_rate * (1 - base_rate) / held_out_count
    ) ** 0.5
    assert abs(rate - base_rate - _truth(treatment)) < 4 * sigma
