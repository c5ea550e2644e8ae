"""Customers of the bank at the gateway: their events are sent, and they react to the answers."""

import time
from collections import Counter, defaultdict
from typing import Any, Final

import httpx
import msgspec
from msgspec import Struct

from pipeline.adapters.gateway_client import GatewayClient, GatewayRefusedError
from pipeline.model.decision import Action
from pipeline.simulate.customers import customer
from pipeline.simulate.events import WorldEvent
from pipeline.simulate.offers import BankOffer
from pipeline.simulate.reactions import ContactAction, bank_offer, outcomes
from pipeline.simulate.world import WorldSize

_BUSY_STATUSES: Final = frozenset((429, 503))
"""Answers of a busy gateway, after which the play goes on."""


class LearnedTreatment(Struct, frozen=True, rename={"trials": "tried", "successes": "reached"}):
    """Treatment with the stack's evidence, over all context bins: `trials` are messages,
    `successes` those that reached the goal."""

    campaign: str
    treatment: str
    trials: int
    successes: int

    @property
    def rate(self) -> float:
        """Share of the messages that reached the goal."""
        return self.successes / self.trials if self.trials else 0.0


class PlayReport(
    Struct,
    rename={
        "events": "sent",
        "requests": "asked",
        "defaults": "defaulted",
        "failures": "failed",
        "treatments": "learned",
    },
):
    """Totals of a play.

    `events`: number of events sent, of which `requests` asked for an answer and `defaults` got a
    default; `failures`: posts that the gateway did not accept; `finished`: the whole world was
    played; `actions`: messages that reached customers, by OFFER/CHANNEL, and `outcomes` the
    customers' reactions to them; `treatments`: the stack's evidence so far.
    """

    url: str
    synthetic: bool = True
    events: int = 0
    requests: int = 0
    defaults: int = 0
    failures: int = 0
    finished: bool = False
    actions: Counter[str] = msgspec.field(default_factory=Counter)
    outcomes: defaultdict[str, Counter[str]] = msgspec.field(
        default_factory=lambda: defaultdict(Counter)
    )
    treatments: list[LearnedTreatment] = msgspec.field(default_factory=list)


class Audience:
    """Customers of one world; `clients` by channel. Their activity is counted in `report`."""

    def __init__(
        self, size: WorldSize, clients: dict[str, GatewayClient], report: PlayReport
    ) -> None:
        self._seed = size.seed
        self._clients = clients
        self._report = report
        # Ids include the play: the stack drops ids of an earlier play as duplicates for a week.
        self._play_id = f"{time.time_ns():x}"
        self._people: dict[str, int] = {}
        self._goals: set[tuple[int, str]] = set()

    async def send(self, event: WorldEvent) -> None:
        """Send an event, and react to the answer if the event requests one."""
        for identifier in event.identifiers:
            self._people[identifier.key] = event.person
        message = event.message(f"{self._play_id}-{event.event_id}")
        if event.placement is None:
            await self._post(event.channel, f"/v1/{event.kind}", message)
        else:
            await self._ask(event, message, event.placement)
        self._report.events += 1

    async def receive(self, action: Action) -> None:
        """React to an e-mail or a call."""
        person = self._people.get(action.identifier.key)
        if person is not None:
            contact = ContactAction(action.action_id, action.token, action.offer, action.channel)
            await self._react(contact, person)

    async def _ask(self, event: WorldEvent, message: dict[str, Any], placement: str) -> None:
        request = {"interaction": message, "placements": [placement]}
        self._report.requests += 1
        answer = await self._post(event.channel, "/v1/decide", request)
        if answer is None:
            return
        self._report.defaults += answer["defaulted"]
        action = answer["placements"][placement]
        if action is not None:
            contact = ContactAction(
                action["action_id"], action["token"], action["offer"], action["channel"]
            )
            await self._react(contact, event.person)

    async def _react(self, action: ContactAction, person: int) -> None:
        """Report the customer's reactions; a customer reaches an offer's goal at most once."""
        label = f"{action.offer}/{action.channel}"
        self._report.actions[label] += 1
        offer = bank_offer(action)
        reactions = list(outcomes(action, customer(self._seed, person)))
        if offer is None or not reactions:
            return
        if (person, offer.offer) in self._goals and "conversion" in reactions:
            reactions.remove("conversion")
        if "conversion" in reactions:
            self._goals.add((person, offer.offer))
            await self._reach(offer, person, action.action_id)
        reports = [
            {
                "token": action.token,
                "outcome": outcome,
                **({"properties": {"goal": offer.goal}} if outcome == "conversion" else {}),
            }
            for outcome in reactions
        ]
        if await self._post("web", "/v1/outcomes", {"outcomes": reports}) is not None:
            self._report.outcomes[label].update(reactions)

    async def _reach(self, offer: BankOffer, person: int, action_id: str) -> None:
        member = customer(self._seed, person)
        identifier = member.customer_id if member.is_known else member.email
        event = WorldEvent(
            at=0,
            person=person,
            event_id=f"goal-{action_id}",
            kind="track",
            name=offer.goal,
            channel=offer.goal_channel,
            identifiers=(identifier,),
            properties={"value": offer.value, "offer": offer.offer},
        )
        message = event.message(f"{self._play_id}-{event.event_id}")
        await self._post(event.channel, "/v1/track", message)

    async def _post(self, channel: str, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Post a body and return the answer; None, counted as a failure, if the gateway was too
        busy or did not answer."""
        try:
            return await self._clients[channel].post(path, body)
        except httpx.HTTPError:
            self._report.failures += 1
        except GatewayRefusedError as error:
            if error.status not in _BUSY_STATUSES:
                raise
            self._report.failures += 1
        return None
