"""Opening of an account: mandatory steps, stalls, and the effect of reminders."""

from typing import Final

from pipeline.model.time import DAY_MS, MINUTE_MS
from pipeline.simulate.contacts import ContactMoment, meet
from pipeline.simulate.diary import Diary, DiaryEvent
from pipeline.simulate.life import HOME, HOME_PLACEMENT, identify_customer
from pipeline.simulate.offers import STEPS, OnboardingStep

STARTED: Final = "Onboarding Started"

_START_SHARE: Final = 0.8
_LATEST_START: Final = 0.6
"""Share of the world's time within which people begin, so that most finish within the world."""

_REMINDER_MS: Final = DAY_MS


def draw_start(diary: Diary) -> int | None:
    """Draw the time at which the customer begins to open an account, or None."""
    draws = diary.customer.draws
    if not draws.happens(_START_SHARE, "starts onboarding"):
        return None
    return diary.at(draws.between(0.02, _LATEST_START, "starts at") * diary.days)


def open_account(diary: Diary, at: int, policy: bool) -> int | None:
    """Add the steps from `at` on; return the time at which the account is opened, or None."""
    customer = diary.customer
    browser = customer.cookies[0]
    names = (customer.email, customer.phone, browser)
    before, after = (customer.email, browser), (customer.customer_id, *names)
    diary.note(at, DiaryEvent("web", HOME, (browser,), "page", HOME_PLACEMENT))
    diary.note(at + MINUTE_MS, DiaryEvent("web", STARTED, names))
    diary.note(
        at + MINUTE_MS + 1,
        DiaryEvent("web", "identify", names, "identify"),
        first_name=customer.first_name,
    )
    moment = at + MINUTE_MS
    for step in STEPS:
        done_at = _complete_step(diary, step, moment, policy)
        if done_at is None:
            return None
        moment = done_at
        identifiers = after if step is STEPS[-1] else before
        diary.note(moment, DiaryEvent(step.channel, step.event, identifiers))
    identify_customer(diary, moment + MINUTE_MS)
    return moment


def _complete_step(diary: Diary, step: OnboardingStep, since: int, policy: bool) -> int | None:
    """Return the time at which the step is done: at once, or after a stall with or without a
    reminder."""
    draws = diary.customer.draws
    if draws.happens(step.at_once, f"{step.event} at once"):
        return since + MINUTE_MS + round(draws.exponential(10 * MINUTE_MS, f"{step.event} takes"))
    reminded_at = since + _REMINDER_MS
    return meet(diary, ContactMoment(step.reminder, reminded_at, (diary.customer.email,), policy))
