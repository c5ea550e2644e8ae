"""Simulated customers: seeded reactions to messages, not measured on real people."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

_SECOND_MS = 1_000
_MINUTE_MS = 60 * _SECOND_MS


@dataclass(frozen=True, slots=True)
class DeliveredMessage:
    """Message that reached a customer.

    `is_outbound`: the message answers no placement. `at`: time of its decision (epoch ms, in the
    time of the log).
    """

    action_id: str
    token: str
    offer: str
    is_outbound: bool
    at: int


@dataclass(frozen=True, slots=True)
class Reaction:
    """Outcome of a message; `at`: epoch ms, in the time of the log."""

    token: str
    outcome: str
    at: int


@dataclass(frozen=True, slots=True)
class Habit:
    """Probabilities that a customer views a message, clicks it or else dismisses it after a view,
    and converts after a click.

    `delay_ms`: from the decision until the view.
    """

    view: float
    click: float
    dismissal: float
    conversion: float
    delay_ms: int


_ON_SITE = Habit(view=0.95, click=0.12, dismissal=0.05, conversion=0.25, delay_ms=_SECOND_MS)
_OUTBOUND = Habit(view=0.45, click=0.25, dismissal=0.02, conversion=0.30, delay_ms=20 * _MINUTE_MS)


def reactions(message: DeliveredMessage, seed: int) -> Iterator[Reaction]:
    """Yield the customer's reactions; the same seed gives the same ones."""
    habit = _OUTBOUND if message.is_outbound else _ON_SITE
    seen_at = message.at + habit.delay_ms

    def happens(event: str, probability: float) -> bool:
        return _uniform(f"{seed}/{message.action_id}/{event}") < probability

    def reaction(outcome: str, delay_ms: int) -> Reaction:
        return Reaction(message.token, outcome, seen_at + delay_ms)

    if not happens("sees", habit.view):
        return
    yield reaction("impression", 0)
    if happens("clicks", habit.click * _appeal(seed, message.offer)):
        yield reaction("click", 30 * _SECOND_MS)
        if happens("converts", habit.conversion):
            yield reaction("conversion", 5 * _MINUTE_MS)
    elif happens("dismisses", habit.dismissal):
        yield reaction("dismiss", 15 * _SECOND_MS)


def _appeal(seed: int, offer: str) -> float:
    """Return the appeal of an offer, 0.5 to 1.5, by its name."""
    return 0.5 + _uniform(f"{seed}/offer/{offer}")


def _uniform(text: str) -> float:
    """Return a number in [0, 1), evenly distributed over texts."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
