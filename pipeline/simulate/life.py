"""Events of a customer's life: visits, payments, credit checks, complaints, silence, offers."""

from collections.abc import Iterator
from typing import Final

from pipeline.model.interaction import Identifier
from pipeline.model.time import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from pipeline.simulate.contacts import ContactMoment, meet
from pipeline.simulate.diary import Diary, DiaryEvent
from pipeline.simulate.offers import SALES, WINDOW_MS, BankOffer

HOME: Final = "Home"
HOME_PLACEMENT: Final = "home-hero"
RECEIPT_PLACEMENT: Final = "receipt"

_LOGS_IN: Final = 0.4
_MONTH: Final = 30.0
_COMPLAINS: Final = 0.05  # a month
_CHECKED: Final = 0.08  # a month, for reasons of its own
_CHECK_FAILS: Final = 0.3
_REQUEST_FAILS: Final = 0.15
_CREDIT: Final = ("cards", "loans")
_PRODUCTS: Final = ("gold-card", "travel-insurance", "personal-loan", "savings", "mortgage")
_CATEGORIES: Final = {
    "gold-card": "cards",
    "travel-insurance": "insurance",
    "personal-loan": "loans",
}
_MOST_VIEWS: Final = 3
_TOPICS: Final = ("fees", "waiting time", "app", "declined payment")
_MERCHANTS: Final = ("groceries", "fuel", "restaurant", "clothes", "pharmacy")


def identify_customer(diary: Diary, at: int) -> None:
    """Send the events of the bank's own systems: the customer's identity, and the card."""
    customer = diary.customer
    names = (customer.customer_id, customer.email, customer.phone)
    event = DiaryEvent("api", "identify", names, kind="identify")
    diary.note(
        at, event, first_name=customer.first_name, tier=customer.tier, consent_marketing=True
    )
    diary.note(
        at + MINUTE_MS, DiaryEvent("api", "Card Issued", (customer.customer_id, customer.card))
    )


def visit_as_customer(diary: Diary, since: int) -> None:
    """Visit the site and the app; every device logs in at least once, and so becomes known."""
    customer = diary.customer
    devices = customer.cookies if customer.device is None else (*customer.cookies, customer.device)
    visits = [
        (at, devices[customer.draws.index(len(devices), f"device {at}")])
        for at in visit_times(diary, since)
    ]
    last = {device: at for at, device in visits}
    known = {device for at, device in visits if _draw_login(diary, at)}
    for at, device in visits:
        forced = device not in known and last[device] == at
        _visit(diary, at, device, logs_in=forced or _draw_login(diary, at))


def visit_as_stranger(diary: Diary, until: int) -> None:
    """Look around with one browser, known by its cookie only."""
    for at in visit_times(diary, diary.at(0)):
        if at < until:
            _visit(diary, at, diary.customer.cookies[0], logs_in=False)


def visit_times(diary: Diary, since: int) -> Iterator[int]:
    """Yield the time of at most one visit a day, until the customer falls silent."""
    draws = diary.customer.draws
    for day in range(diary.days):
        if draws.happens(diary.customer.visits_a_day, f"visits on day {day}"):
            at = diary.at(day + draws.between(7 / 24, 22 / 24, f"hour of day {day}"))
            if since <= at < diary.silent_from_ms:
                yield at


def pay(diary: Diary, since: int) -> None:
    """Pay by card in shops, where a receipt is printed."""
    draws = diary.customer.draws
    for day in range(diary.days):
        if draws.happens(diary.customer.payments_a_day, f"pays on day {day}"):
            at = diary.at(day + draws.between(9 / 24, 21 / 24, f"pays at {day}"))
            if since <= at < diary.silent_from_ms:
                _payment(diary, at)


def complain(diary: Diary, since: int) -> None:
    """Complain by phone with some probability, identified by the number only."""
    draws = diary.customer.draws
    if draws.happens(_in_world(diary, _COMPLAINS), "complains"):
        at = _draw_time(diary, since, "complains at")
        if at < diary.silent_from_ms:
            topic = _TOPICS[draws.index(len(_TOPICS), "topic")]
            diary.note(at, DiaryEvent("call", "Complaint", (diary.customer.phone,)), topic=topic)


def check_credit(diary: Diary, since: int) -> int | None:
    """Have a credit check with some probability; return the time of a failed one, or None."""
    draws = diary.customer.draws
    if not draws.happens(_in_world(diary, _CHECKED), "is checked"):
        return None
    at = _draw_time(diary, since, "checked at")
    failed = draws.happens(_CHECK_FAILS, "fails the check")
    _credit_check(diary, at, "mortgage", failed)
    return at if failed else None


def meet_sales(diary: Diary, failed_at: int | None, policy: bool) -> None:
    """Meet each sales offer once, unless the customer is inactive or may not have credit."""
    for offer in SALES:
        at = _meeting_at(diary, offer)
        barred = failed_at is not None and failed_at <= at and offer.campaign in _CREDIT
        if at >= diary.silent_from_ms or barred:
            continue
        _occasion(diary, offer, at)
        reached = meet(diary, ContactMoment(offer, at, (diary.customer.customer_id,), policy))
        if reached is not None:
            _reach(diary, offer, reached)


def _meeting_at(diary: Diary, offer: BankOffer) -> int:
    """Draw a time early enough for the goal's window to end within the world, if the world is long
    enough."""
    days = max(diary.days - WINDOW_MS / DAY_MS, diary.days / 2)
    return diary.at(diary.customer.draws.between(0.1, days, f"{offer.offer} meeting"))


def _occasion(diary: Diary, offer: BankOffer, at: int) -> None:
    """Add the event that leads to the offer: a payment or a visit to the site."""
    if offer.occasion == "payment":
        _payment(diary, at)
        return
    customer = diary.customer
    names = (customer.customer_id, customer.cookies[0])
    diary.note(at, DiaryEvent("web", HOME, names, "page", HOME_PLACEMENT))


def _reach(diary: Diary, offer: BankOffer, at: int) -> None:
    customer = diary.customer
    goal = DiaryEvent(offer.goal_channel, offer.goal, (customer.customer_id,))
    diary.note(at, goal, value=offer.value, offer=offer.offer)
    if offer.campaign in _CREDIT:
        failed = customer.draws.happens(_REQUEST_FAILS, f"{offer.offer} refused")
        _credit_check(diary, at + MINUTE_MS, offer.offer, failed)


def _visit(diary: Diary, at: int, device: Identifier, logs_in: bool) -> None:
    customer = diary.customer
    if device.namespace == "device":
        home = DiaryEvent("app", HOME, (device,), "screen")
    else:
        home = DiaryEvent("web", HOME, (device,), "page", HOME_PLACEMENT)
    diary.note(at, home)
    names: tuple[Identifier, ...] = (device,)
    if logs_in:
        names = (customer.customer_id, device)
        diary.note(at + 20 * SECOND_MS, DiaryEvent(home.channel, "Logged In", names))
    for number in range(customer.draws.index(_MOST_VIEWS + 1, f"views {at}")):
        product = _PRODUCTS[customer.draws.index(len(_PRODUCTS), f"view {number} {at}")]
        category = _CATEGORIES.get(product, "other")
        viewed = DiaryEvent(home.channel, "Product Viewed", names)
        seen_at = at + (40 + 30 * number) * SECOND_MS
        diary.note(seen_at, viewed, product=product, category=category)


def _payment(diary: Diary, at: int) -> None:
    customer = diary.customer
    cents = 100 + round(customer.draws.exponential(3_500, f"amount {at}"))
    merchant = _MERCHANTS[customer.draws.index(len(_MERCHANTS), f"merchant {at}")]
    paid = DiaryEvent("pos", "Card Payment", (customer.card,), placement=RECEIPT_PLACEMENT)
    diary.note(at, paid, amount=cents / 100, currency="EUR", merchant=merchant)


def _credit_check(diary: Diary, at: int, product: str, failed: bool) -> None:
    event = DiaryEvent("api", "Credit Check Completed", (diary.customer.customer_id,))
    diary.note(at, event, product=product, result="failed" if failed else "passed")


def _draw_login(diary: Diary, at: int) -> bool:
    return diary.customer.draws.happens(_LOGS_IN, f"logs in {at}")


def _in_world(diary: Diary, monthly: float) -> float:
    """Return the chance of an event in the whole of the world's time."""
    escapes: float = (1 - monthly) ** (diary.days / _MONTH)
    return 1 - escapes


def _draw_time(diary: Diary, since: int, name: str) -> int:
    return since + HOUR_MS + round((diary.end_ms - since) * diary.customer.draws.uniform(name))
