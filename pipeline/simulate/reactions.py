"""Reactions of a customer to an action of the stack, by the truth of the world."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.simulate.contacts import draw_reaction, reaches_anyway
from pipeline.simulate.customers import SimulatedCustomer
from pipeline.simulate.offers import OFFERS, BankOffer

_DISMISS_SHARE: Final = 0.04
_OFFERS_BY_NAME: Final = {offer.offer: offer for offer in OFFERS}


@dataclass(frozen=True, slots=True)
class ContactAction:
    """Action that reached the customer."""

    action_id: str
    token: str
    offer: str
    channel: str


def bank_offer(action: ContactAction) -> BankOffer | None:
    """Return the offer, if the world has its parameters in this channel."""
    offer = _OFFERS_BY_NAME.get(action.offer)
    return offer if offer is not None and action.channel in offer.arms else None


def outcomes(action: ContactAction, customer: SimulatedCustomer) -> Iterator[str]:
    """Yield the outcomes in their order; the same action always has the same.

    A customer who would reach the goal anyway does so independently of this message.
    """
    offer = bank_offer(action)
    if offer is None:
        return
    draws = customer.draws.part(action.action_id)
    reaction = draw_reaction(offer.arms[action.channel], draws)
    if reaction.is_seen:
        yield "impression"
    if reaction.is_clicked:
        yield "click"
    elif reaction.is_seen and draws.happens(_DISMISS_SHARE, "dismisses"):
        yield "dismiss"
    if reaction.is_persuaded and not reaches_anyway(offer, customer):
        yield "conversion"
