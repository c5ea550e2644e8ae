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

from pipeline.delivery.channel_adapter import Acceptance, DeliveryResult, MissedDeadline, Parcel
from pipeline.home.channel_faults import ChannelFaults

_MAX_REQUEST_S: Final = 30.0


class TryAgainError(Exception):
    """Raised for a temporary failure; `after_s` is the delay that the receiver requests."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class MisconfiguredError(TryAgainError):
    """Raised for a fault of the channel's configuration or of this process's environment.

    The fault holds back all messages to the receiver `part`, or all of the channel if it is empty.
    """

    def __init__(self, reason: str, part: str = "") -> None:
        super().__init__(reason)
        self.part = part


class NoAnswerError(TryAgainError):
    """Raised for a failure after which the receiver may have accepted the action."""


def retry_until(
    deadline_s: float, max_wait_s: float, *, repeat_unanswered: bool = True, **options: Any
) -> AsyncRetrying:
    """Return retries after TryAgainError until `deadline_s` (epoch s), with growing waits.

    A wait is at most `max_wait_s`, unless the receiver requests a longer one. `repeat_unanswered`:
    whether a try without an answer is also repeated. Tenacity gets `options`.
    """
    back_off = wait_exponential_jitter(multiplier=0.2, max=max_wait_s, jitter=0.5)

    def wait(state: RetryCallState) -> float:
        failure = failure_of(state)
        delay_s = failure.after_s if isinstance(failure, TryAgainError) else 0.0
        return max(back_off(state), delay_s)

    is_temporary = retry_if_exception_type(TryAgainError)
    has_answer = retry_if_not_exception_type(NoAnswerError)
    return AsyncRetrying(
        retry=is_temporary if repeat_unanswered else is_temporary & has_answer,
        wait=wait,
        stop=lambda state: time.time() + state.upcoming_sleep >= deadline_s,
        **options,
    )


async def deliver_until(
    parcel: Parcel,
    max_wait_s: float,
    faults: ChannelFaults,
    attempt_once: Callable[[], Awaitable[DeliveryResult]],
    **options: Any,
) -> DeliveryResult:
    """Repeat `attempt_once` by `retry_until` until the parcel's deadline; return the result.

    A deadline that has already passed prevents the first try. A MissedDeadline is unsure if any
    try, not only the last, had no answer. A MisconfiguredError is recorded in `faults`; a delivery
    removes a fault of the whole channel. Raises NoAnswerError unless tries without an answer are
    repeated.
    """
    if time.time() >= parcel.deadline_s:
        return MissedDeadline("the deadline had passed before the first try")
    failures: set[type[object]] = set()
    retrying = retry_until(
        parcel.deadline_s,
        max_wait_s,
        after=lambda state: failures.add(type(failure_of(state))),
        **options,
    )
    try:
        return await retrying(_record_faults, faults, parcel.action.channel, attempt_once)
    except RetryError as error:
        return MissedDeadline(str(error.last_attempt.exception()), NoAnswerError in failures)


async def _record_faults(
    faults: ChannelFaults, channel: str, attempt_once: Callable[[], Awaitable[DeliveryResult]]
) -> DeliveryResult:
    """Attempt a delivery once; record the channel's fault that prevents it, or remove the fault."""
    try:
        result = await attempt_once()
    except MisconfiguredError as error:
        faults.add(channel, error.part, str(error))
        raise
    if isinstance(result, Acceptance):
        faults.remove(channel, "")
    return result


def failure_of(state: RetryCallState) -> BaseException | None:
    """Return the exception of the last try; None: it raised none."""
    return state.outcome.exception() if state.outcome is not None else None


def retry_after_s(header: str | None) -> float:
    """Return the seconds of a Retry-After header, which may be a date; 0 without a valid one."""
    text = (header or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        retry_time = parsedate_to_datetime(text)
        aware_time = retry_time if retry_time.tzinfo else retry_time.replace(tzinfo=UTC)
        return max(aware_time.timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return 0.0


def request_timeout(deadline_s: float) -> ClientTimeout:
    """Return the time limit of one HTTP request."""
    return ClientTimeout(min(_MAX_REQUEST_S, max(deadline_s - time.time(), 0.001)))
