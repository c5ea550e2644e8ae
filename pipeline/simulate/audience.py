"""Customers of the bank at the gateway: their events are sent, and they react to the answers."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from msgspec import Struct

from pipeline.adapters.gateway_client import GatewayClient, GatewayRefusedError
from pipeline.model.decision import Action
from pipeline.simulate.customers import customer
from pipeline.simulate.events import WorldEvent
from pipeline.simulate.offers import BankOffer
from pipeline.simulate.reactions import ContactAction, bank_offer, outcomes
from pipeline.simulate.world import WorldSize

_BUSY: Final = frozenset((429, 503))
"""Answers of a busy gateway, after which the play goes on."""


class LearnedTreatment(Struct, frozen=True):
    """Treatment with the stack's evidence, over all context bins: messages `tried`, those that
    `reached` the goal, and their share."""

    campaign: str
    treatment: str
    tried: int
    reached: int

    @property
    def rate(self) -> float:
        """Share of the messages that reached the goal."""
        return self.reached / self.tried if self.tried else 0.0


@dataclass(slots=True)
class PlayedWorld:
    """Totals of a play. `actions`: messages that reached customers, as OFFER/CHANNEL, and
    `outcomes` the customers' reactions to them; `sent`: events, of which `asked` requested an
    answer; `failed`: requests without a good answer; `finished`: the whole world was played;
    `learned`: the stack's evidence so far."""

    url: str
    synthetic: bool = True
    sent: int = 0
    asked: int = 0
    defaulted: int = 0
    failed: int = 0
    finished: bool = False
    actions: Counter[str] = field(default_factory=Counter)
    outcomes: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    learned: list[LearnedTreatment] = field(default_factory=list)


class Audience:
    """Customers of one world; `clients` by channel. Their activity is counted in `played`."""

    def __init__(
        self, size: WorldSize, clients: dict[str, GatewayClient], played: PlayedWorld
    ) -> None:
        self._seed = size.seed
        self._clients = clients
        self._played = played
        # Ids include the play: the stack remembers those of an earlier one for a week.
        self._run = f"{time.time_ns():x}"
        self._people: dict[str, int] = {}
        self._reached: set[tuple[int, str]] = set()

    async def live(self, event: WorldEvent) -> None:
        """Send an event, and react to the answer if it requests one."""
        for identifier in event.identifiers:
            self._people[identifier.key] = event.person
        message = event.message(f"{self._run}-{event.event_id}")
        if event.placement is None:
            await self._post(event.channel, f"/v1/{event.kind}", message)
        else:
            await self._ask(event, message, event.placement)
        self._played.sent += 1

    async def receive(self, action: Action) -> None:
        """React to an e-mail or a call."""
        person = self._people.get(action.identifier.key)
        if person is not None:
            contacted = ContactAction(action.action_id, action.token, action.offer, action.channel)
            await self._react(contacted, person)

    async def _ask(self, event: WorldEvent, message: dict[str, Any], placement: str) -> None:
        asked = {"interaction": message, "placements": [placement]}
        self._played.asked += 1
        answer = await self._post(event.channel, "/v1/decide", asked)
        if answer is None:
            return
        self._played.defaulted += answer["defaulted"]
        shown = answer["placements"][placement]
        if shown is not None:
            contacted = ContactAction(
                shown["action_id"], shown["token"], shown["offer"], shown["channel"]
            )
            await self._react(contacted, event.person)

    async def _react(self, contacted: ContactAction, person: int) -> None:
        """Report the customer's reactions, and reach the offer's goal, at most once."""
        simulated = customer(self._seed, person)
        named = f"{contacted.offer}/{contacted.channel}"
        self._played.actions[named] += 1
        offer = bank_offer(contacted)
        done = list(outcomes(contacted, simulated))
        if offer is None or not done:
            return
        if (person, offer.offer) in self._reached and "conversion" in done:
            done.remove("conversion")
        if "conversion" in done:
            self._reached.add((person, offer.offer))
            await self._reach(offer, person, contacted.action_id)
        reports = [
            {
                "token": contacted.token,
                "outcome": outcome,
                **({"properties": {"goal": offer.goal}} if outcome == "conversion" else {}),
            }
            for outcome in done
        ]
        if await self._post("web", "/v1/outcomes", {"outcomes": reports}) is not None:
            self._played.outcomes[named].update(done)

    async def _reach(self, offer: BankOffer, person: int, action_id: str) -> None:
        simulated = customer(self._seed, person)
        known = simulated.customer_id if simulated.known else simulated.email
        event = WorldEvent(
            at=0,
            person=person,
            event_id=f"goal-{action_id}",
            kind="track",
            name=offer.goal,
            channel=offer.goal_channel,
            identifiers=(known,),
            properties={"value": offer.value, "offer": offer.offer},
        )
        message = event.message(f"{self._run}-{event.event_id}")
        await self._post(event.channel, "/v1/track", message)

    async def _post(self, channel: str, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Post an event; None if the stack was too busy or did not answer, which is counted."""
        try:
            return await self._clients[channel].post(path, body)
        except httpx.HTTPError:
            self._played.failed += 1
        except GatewayRefusedError as refused:
            if refused.status not in _BUSY:
                raise
            self._played.failed += 1
        return None
