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

_LOGIN_SHARE: Final = 0.4
_DAYS_PER_MONTH: Final = 30.0
_COMPLAINT_RATE: Final = 0.05  # a month
_CREDIT_CHECK_RATE: Final = 0.08  # a month, beside those that requests of offers cause
_CHECK_FAILURE_SHARE: Final = 0.3
_REQUEST_FAILURE_SHARE: Final = 0.15
_CREDIT_CAMPAIGNS: Final = ("cards", "loans")
_PRODUCTS: Final = ("gold-card", "travel-insurance", "personal-loan", "savings", "mortgage")
_CATEGORIES: Final = {
    "gold-card": "cards",
    "travel-insurance": "insurance",
    "personal-loan": "loans",
}
_MAX_VIEWS: Final = 3
_TOPICS: Final = ("fees", "waiting time", "app", "declined payment")
_MERCHANTS: Final = ("groceries", "fuel", "restaurant", "clothes", "pharmacy")


def identify_customer(diary: Diary, at: int) -> None:
    """Add the events of the bank's own systems: the customer's identity, and the card."""
    customer = diary.customer
    identifiers = (customer.customer_id, customer.email, customer.phone)
    event = DiaryEvent("api", "identify", identifiers, kind="identify")
    diary.note(
        at, event, first_name=customer.first_name, tier=customer.tier, consent_marketing=True
    )
    diary.note(
        at + MINUTE_MS, DiaryEvent("api", "Card Issued", (customer.customer_id, customer.card))
    )


def visit_as_customer(diary: Diary, start_ms: int) -> None:
    """Add visits to the site and the app. Every device that is used logs in at least once, so that
    identity can link it to the customer."""
    customer = diary.customer
    devices = customer.cookies if customer.device is None else (*customer.cookies, customer.device)
    visits = [
        (at, devices[customer.draws.index(len(devices), f"device {at}")])
        for at in visit_times(diary, start_ms)
    ]
    last_visits = {device: at for at, device in visits}
    logged_in_devices = {device for at, device in visits if _draw_login(diary, at)}
    for at, device in visits:
        must_log_in = device not in logged_in_devices and last_visits[device] == at
        _visit(diary, at, device, logs_in=must_log_in or _draw_login(diary, at))


def visit_as_stranger(diary: Diary, end_ms: int) -> None:
    """Add visits with one browser before `end_ms`, identified by its cookie only."""
    for at in visit_times(diary, diary.time_of(0)):
        if at < end_ms:
            _visit(diary, at, diary.customer.cookies[0], logs_in=False)


def visit_times(diary: Diary, start_ms: int) -> Iterator[int]:
    """Yield the time of at most one visit a day, until the customer falls silent."""
    draws = diary.customer.draws
    for day in range(diary.days):
        if draws.happens(diary.customer.visits_a_day, f"visits on day {day}"):
            at = diary.time_of(day + draws.number_between(7 / 24, 22 / 24, f"hour of day {day}"))
            if start_ms <= at < diary.silence_start_ms:
                yield at


def pay(diary: Diary, start_ms: int) -> None:
    """Add payments by card in shops, where a receipt is printed."""
    draws = diary.customer.draws
    for day in range(diary.days):
        if draws.happens(diary.customer.payments_a_day, f"pays on day {day}"):
            at = diary.time_of(day + draws.number_between(9 / 24, 21 / 24, f"pays at {day}"))
            if start_ms <= at < diary.silence_start_ms:
                _note_payment(diary, at)


def complain(diary: Diary, start_ms: int) -> None:
    """Add a complaint by phone with some probability, identified by the number only."""
    draws = diary.customer.draws
    if draws.happens(_chance_in_world(diary, _COMPLAINT_RATE), "complains"):
        at = _draw_time(diary, start_ms, "complains at")
        if at < diary.silence_start_ms:
            topic = _TOPICS[draws.index(len(_TOPICS), "topic")]
            diary.note(at, DiaryEvent("call", "Complaint", (diary.customer.phone,)), topic=topic)


def check_credit(diary: Diary, start_ms: int) -> int | None:
    """Add a credit check with some probability; return the time of a failed one, or None."""
    draws = diary.customer.draws
    if not draws.happens(_chance_in_world(diary, _CREDIT_CHECK_RATE), "is checked"):
        return None
    at = _draw_time(diary, start_ms, "checked at")
    is_failure = draws.happens(_CHECK_FAILURE_SHARE, "fails the check")
    _note_credit_check(diary, at, "mortgage", is_failure)
    return at if is_failure else None


def meet_sales(diary: Diary, failed_at: int | None, policy: bool) -> None:
    """Add a contact moment of each sales offer, unless the customer is inactive then or has failed
    a credit check that the offer needs."""
    for offer in SALES:
        at = _draw_meeting_time(diary, offer)
        is_barred = (
            failed_at is not None and failed_at <= at and offer.campaign in _CREDIT_CAMPAIGNS
        )
        if at >= diary.silence_start_ms or is_barred:
            continue
        _note_occasion(diary, offer, at)
        goal_at = meet(diary, ContactMoment(offer, at, (diary.customer.customer_id,), policy))
        if goal_at is not None:
            _reach(diary, offer, goal_at)


def _draw_meeting_time(diary: Diary, offer: BankOffer) -> int:
    """Draw a time early enough for the goal's window to end within the world, if the world is long
    enough."""
    days = max(diary.days - WINDOW_MS / DAY_MS, diary.days / 2)
    return diary.time_of(diary.customer.draws.number_between(0.1, days, f"{offer.offer} meeting"))


def _note_occasion(diary: Diary, offer: BankOffer, at: int) -> None:
    """Add the event that leads to the offer: a payment or a visit to the site."""
    if offer.occasion == "payment":
        _note_payment(diary, at)
        return
    customer = diary.customer
    identifiers = (customer.customer_id, customer.cookies[0])
    diary.note(at, DiaryEvent("web", HOME, identifiers, "page", HOME_PLACEMENT))


def _reach(diary: Diary, offer: BankOffer, at: int) -> None:
    customer = diary.customer
    goal = DiaryEvent(offer.goal_channel, offer.goal, (customer.customer_id,))
    diary.note(at, goal, value=offer.value, offer=offer.offer)
    if offer.campaign in _CREDIT_CAMPAIGNS:
        is_failure = customer.draws.happens(_REQUEST_FAILURE_SHARE, f"{offer.offer} refused")
        _note_credit_check(diary, at + MINUTE_MS, offer.offer, is_failure)


def _visit(diary: Diary, at: int, device: Identifier, logs_in: bool) -> None:
    customer = diary.customer
    if device.namespace == "device":
        home = DiaryEvent("app", HOME, (device,), "screen")
    else:
        home = DiaryEvent("web", HOME, (device,), "page", HOME_PLACEMENT)
    diary.note(at, home)
    identifiers: tuple[Identifier, ...] = (device,)
    if logs_in:
        identifiers = (customer.customer_id, device)
        diary.note(at + 20 * SECOND_MS, DiaryEvent(home.channel, "Logged In", identifiers))
    for number in range(customer.draws.index(_MAX_VIEWS + 1, f"views {at}")):
        product = _PRODUCTS[customer.draws.index(len(_PRODUCTS), f"view {number} {at}")]
        category = _CATEGORIES.get(product, "other")
        view = DiaryEvent(home.channel, "Product Viewed", identifiers)
        seen_at = at + (40 + 30 * number) * SECOND_MS
        diary.note(seen_at, view, product=product, category=category)


def _note_payment(diary: Diary, at: int) -> None:
    customer = diary.customer
    cents = 100 + round(customer.draws.exponential(3_500, f"amount {at}"))
    merchant = _MERCHANTS[customer.draws.index(len(_MERCHANTS), f"merchant {at}")]
    payment = DiaryEvent("pos", "Card Payment", (customer.card,), placement=RECEIPT_PLACEMENT)
    diary.note(at, payment, amount=cents / 100, currency="EUR", merchant=merchant)


def _note_credit_check(diary: Diary, at: int, product: str, is_failure: bool) -> None:
    event = DiaryEvent("api", "Credit Check Completed", (diary.customer.customer_id,))
    diary.note(at, event, product=product, result="failed" if is_failure else "passed")


def _draw_login(diary: Diary, at: int) -> bool:
    return diary.customer.draws.happens(_LOGIN_SHARE, f"logs in {at}")


def _chance_in_world(diary: Diary, monthly_chance: float) -> float:
    """Return the chance of an event in the world's time, from its chance in a month."""
    no_event_chance: float = (1 - monthly_chance) ** (diary.days / _DAYS_PER_MONTH)
    return 1 - no_event_chance


def _draw_time(diary: Diary, start_ms: int, name: str) -> int:
    return (
        start_ms + HOUR_MS + round((diary.end_ms - start_ms) * diary.customer.draws.uniform(name))
    )
