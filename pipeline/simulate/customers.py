"""Customers of the bank: their properties, their identifiers, and their habits."""

from dataclasses import dataclass
from typing import Final

from pipeline.model.interaction import Identifier
from pipeline.simulate.draws import Draws
from pipeline.simulate.offers import GOLD_SHARE, HIGH_INTENT_SHARES, Intent, Tier

_KNOWN_SHARE: Final = 0.7
"""Share of people who are customers from the start; the others may open an account."""

_MAX_COOKIES: Final = 3
_APP_SHARE: Final = 0.5
_SILENT_SHARE: Final = 0.2

_PHONE_NUMBER_COUNT: Final = 10**8
_STRIDE: Final = 7_919  # without a factor of 10, so that it reaches every number once
_SEED_STRIDE: Final = 104_729
MAX_CUSTOMERS: Final = 10**7

_FIRST_NAMES: Final = (
    *("Ana", "Luis", "Marta", "Jorge", "Elena", "Pablo", "Sara", "Diego", "Clara", "Hugo"),
    *("Irene", "Mateo", "Nuria", "Oscar", "Paula", "Ruben", "Sofia", "Tomas", "Vera", "Ivan"),
)


@dataclass(frozen=True, slots=True)
class SimulatedCustomer:
    """Constant properties of a customer. `is_known`: a customer of the bank from the start.

    `intent` is unobserved. `email` and `phone` are in their normal form. `silence_start` (a share
    of the world's time): start of the customer's inactivity.
    """

    index: int
    draws: Draws
    is_known: bool
    tier: Tier
    intent: Intent
    first_name: str
    customer_id: Identifier
    email: Identifier
    phone: Identifier
    card: Identifier
    cookies: tuple[Identifier, ...]
    device: Identifier | None
    visits_a_day: float
    payments_a_day: float
    silence_start: float | None


def customer(seed: int, index: int) -> SimulatedCustomer:
    """Return the customer with this number, the same in a world of any size."""
    draws = Draws.of(seed, "customer", index)
    tier: Tier = "gold" if draws.happens(GOLD_SHARE, "tier") else "standard"
    name = _FIRST_NAMES[draws.index(len(_FIRST_NAMES), "name")]
    cookie_count = 1 + draws.index(_MAX_COOKIES, "cookies")
    has_app = draws.happens(_APP_SHARE, "app")
    is_silent = draws.happens(_SILENT_SHARE, "falls silent")
    return SimulatedCustomer(
        index=index,
        draws=draws,
        is_known=draws.happens(_KNOWN_SHARE, "known"),
        tier=tier,
        intent="high" if draws.happens(HIGH_INTENT_SHARES[tier], "intent") else "low",
        first_name=name,
        customer_id=Identifier("customer_id", f"C{seed}-{index:07d}"),
        email=Identifier("email", f"{name.lower()}.{seed}.{index:07d}@mail.example"),
        phone=Identifier("phone", _phone(seed, index)),
        card=Identifier("card", draws.token("card", 16)),
        cookies=tuple(
            Identifier("cookie", draws.token(f"cookie {n}")) for n in range(cookie_count)
        ),
        device=Identifier("device", draws.token("device")) if has_app else None,
        visits_a_day=draws.number_between(0.05, 0.5, "visits"),
        payments_a_day=draws.number_between(0.0, 0.3, "payments"),
        silence_start=draws.number_between(0.2, 0.9, "silent from") if is_silent else None,
    )


def _phone(seed: int, index: int) -> str:
    """Return a Spanish mobile number in E.164, unique in a world."""
    return f"+346{(index * _STRIDE + seed * _SEED_STRIDE) % _PHONE_NUMBER_COUNT:08d}"
