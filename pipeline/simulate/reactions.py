"""Reactions of a customer to an action of the stack, by the truth of the world."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.simulate.contacts import reaches_anyway, reaction
from pipeline.simulate.customers import SimulatedCustomer
from pipeline.simulate.offers import OFFERS, BankOffer

_DISMISSES: Final = 0.04
_BY_NAME: Final = {offer.offer: offer for offer in OFFERS}


@dataclass(frozen=True, slots=True)
class ContactAction:
    """Action that reached the customer."""

    action_id: str
    token: str
    offer: str
    channel: str


def bank_offer(contacted: ContactAction) -> BankOffer | None:
    """Return the offer, if the world has its parameters in this channel."""
    offer = _BY_NAME.get(contacted.offer)
    return offer if offer is not None and contacted.channel in offer.arms else None


def outcomes(contacted: ContactAction, customer: SimulatedCustomer) -> Iterator[str]:
    """Yield the outcomes in their order; the same action always has the same.

    A customer who would reach the goal anyway does so independently of this message.
    """
    offer = bank_offer(contacted)
    if offer is None:
        return
    draws = customer.draws.about(contacted.action_id)
    taken = reaction(offer.arms[contacted.channel], draws)
    if taken.seen:
        yield "impression"
    if taken.clicked:
        yield "click"
    elif taken.seen and draws.happens(_DISMISSES, "dismisses"):
        yield "dismiss"
    if taken.persuaded and not reaches_anyway(offer, customer):
        yield "conversion"
