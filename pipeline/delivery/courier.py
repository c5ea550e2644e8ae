"""Delivery of one action: the ledger records the attempt, then its result, then its report.

A kill between any two of these steps repeats only the unrecorded step: the receiver gets the same
idempotency key again, the gateway the same outcome, with the same event id. Receivers without
idempotency keys (mail servers) do not get the action again. An action that may have been delivered
counts as sent, so that caps are not exceeded.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

import msgspec
from prometheus_client import Counter

from pipeline.delivery.channel_adapter import (
    Acceptance,
    Bounce,
    ChannelAdapter,
    DeliveryResult,
    MessageCancelledError,
    MissedDeadline,
    Parcel,
    UnconfirmedAttempt,
    Withdrawal,
)
from pipeline.delivery.ledger import Ledger, LedgerEntry
from pipeline.delivery.reporter import OutcomeReport, RejectedOutcome, Reporter
from pipeline.model.decision import Action

_RECORDS: Final = Counter(
    "kairos_adapter_records",
    "Records of action topics by outcome; duplicate: the action was delivered before",
    ["outcome"],
)


FindCancellation: TypeAlias = Callable[[str], str | None]
"""Lookup of the reason for which an action was cancelled; None: it was not cancelled."""


class _RecordedAttempt:
    """Record of the attempts of one action in the ledger.

    `unknown`: whether the fate of an earlier attempt is unknown, since it ended in a crash or
    without a recorded failure.
    """

    def __init__(
        self, ledger: Ledger, action: Action, find_cancellation: FindCancellation, *, unknown: bool
    ) -> None:
        self._ledger = ledger
        self._action = action
        self._find_cancellation = find_cancellation
        self._unknown = unknown
        self._begun = False

    @property
    def unsure(self) -> bool:
        """Whether the receiver may have the action."""
        return self._unknown or self._begun

    def begin(self) -> None:
        reason = self._find_cancellation(self._action.action_id)
        if reason is not None:
            raise MessageCancelledError(reason)
        self._unknown |= self._begun
        self._begun = True
        self._ledger.put(self._action.action_id, LedgerEntry(token=self._action.token))

    def record_failure(self) -> None:
        self._begun = False
        if not self._unknown:
            self._ledger.remove(self._action.action_id)


class Courier:
    """Delivery of single actions by the adapter of their channel, unless they were cancelled."""

    def __init__(
        self,
        adapter: ChannelAdapter,
        ledger: Ledger,
        reporter: Reporter,
        find_cancellation: FindCancellation = lambda _: None,
    ) -> None:
        self._adapter = adapter
        self._ledger = ledger
        self._reporter = reporter
        self._find_cancellation = find_cancellation

    async def deliver(self, parcel: Parcel) -> RejectedOutcome | None:
        """Deliver and report; return the permanent rejection of the outcome, if there is one."""
        action = parcel.action
        entry = self._ledger.get(action.action_id)
        if entry is not None and entry.accepted:
            _RECORDS.labels("duplicate").inc()
            return None
        was_tried = entry is not None
        report = (entry and entry.report) or await self._attempt(parcel, was_tried)
        rejection = await self._reporter.report(report)
        self._ledger.put(action.action_id, LedgerEntry(report, True, action.token))
        return rejection

    async def _attempt(self, parcel: Parcel, was_tried: bool) -> bytes:
        """Deliver, and write the outcome to the ledger; return it as JSON for the gateway."""
        action = parcel.action
        result = await self._deliver_unless_unknown(parcel, was_tried)
        report = _report_of(parcel, result)
        _RECORDS.labels(report.outcome).inc()
        report_json = msgspec.json.encode(report)
        self._ledger.put(action.action_id, LedgerEntry(report_json, token=action.token))
        return report_json

    async def _deliver_unless_unknown(self, parcel: Parcel, was_tried: bool) -> DeliveryResult:
        """Deliver, unless an attempt before a crash (`was_tried`) forbids it."""
        action = parcel.action
        if not self._adapter.serves(action.channel):
            return Bounce(0)
        if was_tried and not self._adapter.may_repeat(action.channel):
            return UnconfirmedAttempt("the process ended during an attempt")
        attempt = _RecordedAttempt(self._ledger, action, self._find_cancellation, unknown=was_tried)
        try:
            result = await self._adapter.deliver(parcel, attempt)
        except MessageCancelledError as error:
            return Withdrawal(str(error), attempt.unsure)
        if was_tried and isinstance(result, MissedDeadline):
            return replace(result, unsure=True)
        return result


def _report_of(parcel: Parcel, result: DeliveryResult) -> OutcomeReport:
    token, now_ms, hop = (
        parcel.action.token,
        parcel.own_time_ms(),
        parcel.trace.hop_header().decode(),
    )
    match result:
        case Acceptance(details):
            return OutcomeReport(token, "sent", now_ms, hop, dict(details))
        case Bounce(status, details):
            return OutcomeReport(token, "bounce", now_ms, hop, {"status": status, **details})
        case UnconfirmedAttempt(failure) | MissedDeadline(failure, unsure=True):
            return OutcomeReport(token, "sent", now_ms, hop, {"unconfirmed": failure})
        case Withdrawal(reason, unsure=True):
            return OutcomeReport(
                token, "sent", now_ms, hop, {"unconfirmed": f"cancelled: {reason}"}
            )
        case Withdrawal(reason):
            return OutcomeReport(token, "expired", now_ms, hop, {"cancelled": reason})
        case MissedDeadline(failure):
            return OutcomeReport(token, "expired", now_ms, hop, {"last_failure": failure})
