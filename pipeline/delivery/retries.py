"""Retries of a delivery until its deadline, for all adapters of channels."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

from aiohttp import ClientTimeout
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    RetryError,
    retry_if_exception_type,
    retry_if_not_exception_type,
)
from tenacity.wait import wait_exponential_jitter

from pipeline.delivery.channel_adapter import DeliveryResult, OutOfTime

TOO_LATE: Final = OutOfTime("the deadline had passed before the first try")
_LONGEST_REQUEST_S: Final = 30.0


class TryAgainError(Exception):
    """Raised for a temporary failure; `after_s` is the delay that the receiver requests."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class MisconfiguredError(TryAgainError):
    """Raised for a fault of the channel's configuration or of this process's environment, which
    holds all messages to a receiver back: `part` names it, empty: all of the channel."""

    def __init__(self, reason: str, part: str = "") -> None:
        super().__init__(reason)
        self.part = part


class NoAnswerError(TryAgainError):
    """Raised for a failure after which the receiver may have accepted the action."""


def retry_until(
    give_up_s: float, longest_wait_s: float, *, unanswered: bool = True, **more: Any
) -> AsyncRetrying:
    """Return retries after TryAgainError until `give_up_s` (epoch s), with growing waits.

    A wait is at most `longest_wait_s`, unless the receiver requests more. `unanswered`: whether a
    try without an answer is also repeated. `more` goes to tenacity.
    """
    back_off = wait_exponential_jitter(multiplier=0.2, max=longest_wait_s, jitter=0.5)

    def wait(state: RetryCallState) -> float:
        failure = failure_of(state)
        requested = failure.after_s if isinstance(failure, TryAgainError) else 0.0
        return max(back_off(state), requested)

    temporary = retry_if_exception_type(TryAgainError)
    answered = retry_if_not_exception_type(NoAnswerError)
    return AsyncRetrying(
        retry=temporary if unanswered else temporary & answered,
        wait=wait,
        stop=lambda state: time.time() + state.upcoming_sleep >= give_up_s,
        **more,
    )


async def deliver_until(
    give_up_s: float,
    longest_wait_s: float,
    attempt_once: Callable[[], Awaitable[DeliveryResult]],
    **more: Any,
) -> DeliveryResult:
    """Repeat a delivery by `retry_until`; return its result.

    After the deadline there is no first try. A result out of time is unsure if any try, not only
    the last, had no answer.
    """
    if time.time() >= give_up_s:
        return TOO_LATE
    failures: set[type[object]] = set()
    retrying = retry_until(
        give_up_s,
        longest_wait_s,
        after=lambda state: failures.add(type(failure_of(state))),
        **more,
    )
    try:
        return await retrying(attempt_once)
    except RetryError as error:
        return OutOfTime(str(error.last_attempt.exception()), NoAnswerError in failures)


def failure_of(state: RetryCallState) -> BaseException | None:
    """Return the exception of the last try."""
    return state.outcome.exception() if state.outcome is not None else None


def retry_after_s(header: str | None) -> float:
    """Return the seconds of a Retry-After header, which may be a date; 0 without a valid one."""
    text = (header or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
        aware = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(aware.timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return 0.0


def request_timeout(give_up_s: float) -> ClientTimeout:
    """Return the time limit of one HTTP request."""
    return ClientTimeout(min(_LONGEST_REQUEST_S, max(give_up_s - time.time(), 0.001)))
