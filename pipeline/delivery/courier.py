"""What is done with one action: remember that it is tried, deliver it, remember what came of it,
report that, remember that too.

A kill between any two of these repeats only what was not remembered: the post carries the same
idempotency key again, the outcome has the same event id again. What may have been delivered
counts as sent, so that caps are not exceeded.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import msgspec
from aiohttp import ClientSession
from msgspec import Struct
from prometheus_client import Counter

from pipeline.adapters import webhook
from pipeline.adapters.traces import Trace
from pipeline.adapters.webhook import Endpoint, Refused, Result, Taken, TooLate, Unusable
from pipeline.delivery.ledger import Entry, Ledger
from pipeline.delivery.reporter import Reporter, Unacceptable
from pipeline.model.decision import Action

_MS: Final = 1000

_RECORDS: Final = Counter(
    "kairos_adapter_records",
    "Records of action topics by outcome; duplicate: of an action that was delivered before",
    ["outcome"],
)


@dataclass(frozen=True, slots=True)
class Parcel:
    """An action with the time (epoch ms) at which Kafka got it, and the trace that it is of."""

    action: Action
    written_ms: int
    trace: Trace

    @property
    def give_up_s(self) -> float:
        """The time left counts from Kafka's timestamp, because the action's own times may be
        those of a log that is played again, years in the past.
        """
        left_ms = self.action.deadline_at - self.action.created_at
        return (self.written_ms + left_ms) / _MS

    def own_time_ms(self) -> int:
        """Now, on the clock that the action's times are of."""
        return self.action.created_at + max(0, round(time.time() * _MS) - self.written_ms)


class Report(Struct, frozen=True, omit_defaults=True):
    """An outcome as `/v1/outcomes` takes it."""

    token: str
    outcome: str
    timestamp: int
    traceparent: str
    properties: dict[str, str | int] = msgspec.field(default_factory=dict)


class Courier:
    """`endpoint` gives the webhook of a channel, or why it cannot be used yet; None: the channel
    has none any more."""

    def __init__(
        self,
        client: ClientSession,
        endpoint: Callable[[str], Endpoint | Unusable | None],
        ledger: Ledger,
        reporter: Reporter,
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._ledger = ledger
        self._reporter = reporter

    async def deliver(self, parcel: Parcel) -> Unacceptable | None:
        """None once the gateway has the outcome; otherwise why it never will."""
        action = parcel.action
        known = self._ledger.get(action.action_id)
        if known is not None and known.accepted:
            _RECORDS.labels("duplicate").inc()
            return None
        tried = known is not None
        report = (known and known.report) or await self._post(parcel, tried)
        refused = await self._reporter.report(report)
        self._ledger.put(action.action_id, Entry(report, accepted=True))
        return refused

    async def _post(self, parcel: Parcel, tried: bool) -> bytes:
        action = parcel.action
        find = partial(self._endpoint, action.channel)
        result: Result = Refused(0)
        if find() is not None:
            self._ledger.put(action.action_id, Entry())
            result = await webhook.post(self._client, find, action, parcel.give_up_s, parcel.trace)
        if tried and isinstance(result, TooLate):
            result = replace(result, unsure=True)
        report = _report(parcel, result)
        _RECORDS.labels(report.outcome).inc()
        encoded = msgspec.json.encode(report)
        self._ledger.put(action.action_id, Entry(encoded))
        return encoded


def _report(parcel: Parcel, result: Result) -> Report:
    token, at, hop = parcel.action.token, parcel.own_time_ms(), parcel.trace.hop().decode()
    match result:
        case Taken():
            return Report(token, "sent", at, hop)
        case Refused(status):
            return Report(token, "bounce", at, hop, {"status": status})
        case TooLate(last, unsure=True):
            return Report(token, "sent", at, hop, {"unconfirmed": last})
        case TooLate(last):
            return Report(token, "expired", at, hop, {"last_failure": last})
