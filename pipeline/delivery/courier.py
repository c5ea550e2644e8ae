"""Delivery of one action: the ledger records the attempt, then its result, then its report.

A kill between any two of these steps repeats only the step that was not recorded: the receiver
gets the same idempotency key again, the gateway the same outcome, with the same event id. An action
that may have been delivered counts as sent, so that caps are not exceeded.
"""

from dataclasses import replace
from typing import Final

import msgspec
from msgspec import Struct
from prometheus_client import Counter

from pipeline.delivery.channel_adapter import (
    Bounced,
    ChannelAdapter,
    Delivered,
    DeliveryResult,
    OutOfTime,
    Parcel,
)
from pipeline.delivery.ledger import Ledger, LedgerEntry
from pipeline.delivery.reporter import RejectedOutcome, Reporter

_RECORDS: Final = Counter(
    "kairos_adapter_records",
    "Records of action topics by outcome; duplicate: of an action that was delivered before",
    ["outcome"],
)


class OutcomeReport(Struct, frozen=True, omit_defaults=True):
    """Outcome in the form of `/v1/outcomes`."""

    token: str
    outcome: str
    timestamp: int
    traceparent: str
    properties: dict[str, str | int] = msgspec.field(default_factory=dict)


class Courier:
    """Deliverer of one action at a time, through the adapter of its channel."""

    def __init__(self, adapter: ChannelAdapter, ledger: Ledger, reporter: Reporter) -> None:
        self._adapter = adapter
        self._ledger = ledger
        self._reporter = reporter

    async def deliver(self, parcel: Parcel) -> RejectedOutcome | None:
        """Deliver and report; return None, or why the gateway will never accept the outcome."""
        action = parcel.action
        known = self._ledger.get(action.action_id)
        if known is not None and known.accepted:
            _RECORDS.labels("duplicate").inc()
            return None
        tried = known is not None
        report = (known and known.report) or await self._attempt(parcel, tried)
        refused = await self._reporter.report(report)
        self._ledger.put(action.action_id, LedgerEntry(report, accepted=True))
        return refused

    async def _attempt(self, parcel: Parcel, tried: bool) -> bytes:
        action = parcel.action
        result: DeliveryResult = Bounced(0)
        if self._adapter.serves(action.channel):
            self._ledger.put(action.action_id, LedgerEntry())
            result = await self._adapter.deliver(parcel)
        if tried and isinstance(result, OutOfTime):
            result = replace(result, unsure=True)
        report = _report_of(parcel, result)
        _RECORDS.labels(report.outcome).inc()
        encoded = msgspec.json.encode(report)
        self._ledger.put(action.action_id, LedgerEntry(encoded))
        return encoded


def _report_of(parcel: Parcel, result: DeliveryResult) -> OutcomeReport:
    token, at, hop = parcel.action.token, parcel.own_time_ms(), parcel.trace.hop_header().decode()
    match result:
        case Delivered():
            return OutcomeReport(token, "sent", at, hop)
        case Bounced(status):
            return OutcomeReport(token, "bounce", at, hop, {"status": status})
        case OutOfTime(last, unsure=True):
            return OutcomeReport(token, "sent", at, hop, {"unconfirmed": last})
        case OutOfTime(last):
            return OutcomeReport(token, "expired", at, hop, {"last_failure": last})
