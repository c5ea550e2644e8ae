"""Opening of an account: mandatory steps, stalls, and the effect of reminders."""

from typing import Final

from pipeline.model.time import DAY_MS, MINUTE_MS
from pipeline.simulate.contacts import ContactMoment, meet
from pipeline.simulate.diary import Diary, DiaryEvent
from pipeline.simulate.life import HOME, HOME_PLACEMENT, identify_customer
from pipeline.simulate.offers import STEPS, OnboardingStep

STARTED_EVENT: Final = "Onboarding Started"

_START_SHARE: Final = 0.8
_LATEST_START: Final = 0.6
"""Share of the world's time within which people begin, so that most finish within the world."""

_REMINDER_MS: Final = DAY_MS


def draw_start(diary: Diary) -> int | None:
    """Draw the time at which the customer begins to open an account, or None."""
    draws = diary.customer.draws
    if not draws.happens(_START_SHARE, "starts onboarding"):
        return None
    return diary.time_of(draws.number_between(0.02, _LATEST_START, "starts at") * diary.days)


def open_account(diary: Diary, at: int, policy: bool) -> int | None:
    """Add the steps from `at` on; return the time at which the account is opened, or None."""
    customer = diary.customer
    browser = customer.cookies[0]
    contact_identifiers = (customer.email, customer.phone, browser)
    early_identifiers, later_identifiers = (
        (customer.email, browser),
        (customer.customer_id, *contact_identifiers),
    )
    diary.note(at, DiaryEvent("web", HOME, (browser,), "page", HOME_PLACEMENT))
    diary.note(at + MINUTE_MS, DiaryEvent("web", STARTED_EVENT, contact_identifiers))
    diary.note(
        at + MINUTE_MS + 1,
        DiaryEvent("web", "identify", contact_identifiers, "identify"),
        first_name=customer.first_name,
    )
    moment = at + MINUTE_MS
    for step in STEPS:
        done_at = _complete_step(diary, step, moment, policy)
        if done_at is None:
            return None
        moment = done_at
        identifiers = later_identifiers if step is STEPS[-1] else early_identifiers
        diary.note(moment, DiaryEvent(step.channel, step.event, identifiers))
    identify_customer(diary, moment + MINUTE_MS)
    return moment


def _complete_step(diary: Diary, step: OnboardingStep, start_ms: int, policy: bool) -> int | None:
    """Add the events of a stall, if any; return the time at which the step is done, or None."""
    draws = diary.customer.draws
    if draws.happens(step.immediate_chance, f"{step.event} at once"):
        return (
            start_ms + MINUTE_MS + round(draws.exponential(10 * MINUTE_MS, f"{step.event} takes"))
        )
    reminded_at = start_ms + _REMINDER_MS
    return meet(diary, ContactMoment(step.reminder, reminded_at, (diary.customer.email,), policy))
