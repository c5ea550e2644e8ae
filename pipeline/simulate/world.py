"""World: each customer's life, independent of how many others there are."""

from dataclasses import dataclass

from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier
from pipeline.model.time import HOUR_MS
from pipeline.simulate.customers import SimulatedCustomer, customer
from pipeline.simulate.diary import Diary
from pipeline.simulate.events import WorldEvent
from pipeline.simulate.life import (
    check_credit,
    complain,
    identify_customer,
    meet_sales,
    pay,
    visit_as_customer,
    visit_as_stranger,
)
from pipeline.simulate.onboarding import draw_start, open_account


@dataclass(frozen=True, slots=True)
class WorldSize:
    """Size of a world; customers are numbered from 0, and `seed` determines every draw."""

    customers: int
    days: int
    seed: int


@dataclass(frozen=True, slots=True)
class CustomerLife:
    """Customer with all events, in the order of time."""

    customer: SimulatedCustomer
    events: tuple[WorldEvent, ...]

    @property
    def identifiers(self) -> tuple[Identifier, ...]:
        """All identifiers in the events, the strongest first."""
        event_identifiers = {
            identifier for event in self.events for identifier in event.identifiers
        }
        simulated_customer = self.customer
        identifiers = (
            simulated_customer.customer_id,
            simulated_customer.email,
            simulated_customer.phone,
            simulated_customer.card,
            simulated_customer.device,
            *simulated_customer.cookies,
        )
        return tuple(identifier for identifier in identifiers if identifier in event_identifiers)

    @property
    def profile_id(self) -> str:
        """Id of the profile that identity should give to all these identifiers."""
        return profile_id(self.identifiers[0])


def customer_life(size: WorldSize, index: int, policy: bool) -> CustomerLife:
    """Return the life of one customer; with `policy` the world sends messages by its own policy
    (contacts.py)."""
    simulated_customer = customer(size.seed, index)
    diary = Diary(size.seed, simulated_customer, size.days)
    if simulated_customer.is_known:
        _live_as_customer(diary, policy)
    else:
        _live_as_newcomer(diary, policy)
    return CustomerLife(simulated_customer, tuple(diary.events()))


def _live_as_customer(diary: Diary, policy: bool) -> None:
    known_at = diary.time_of(0) + round(diary.customer.draws.number_between(0, HOUR_MS, "told at"))
    identify_customer(diary, known_at)
    _use_account(diary, known_at)
    failed_at = check_credit(diary, known_at)
    meet_sales(diary, failed_at, policy)


def _live_as_newcomer(diary: Diary, policy: bool) -> None:
    started_at = draw_start(diary)
    opened_at = None if started_at is None else open_account(diary, started_at, policy)
    visit_as_stranger(diary, diary.end_ms if opened_at is None else opened_at)
    if opened_at is not None:
        _use_account(diary, opened_at + HOUR_MS)


def _use_account(diary: Diary, start_ms: int) -> None:
    """Add the events of an account's everyday use."""
    visit_as_customer(diary, start_ms)
    pay(diary, start_ms)
    complain(diary, start_ms)
