"""Delivery of one action after a kill, by the entries of the ledger, over real sockets."""

import asyncio
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from pipeline.adapters import clock, traces
from pipeline.config import model
from pipeline.delivery.adapters import ADAPTERS
from pipeline.delivery.channel_adapter import (
    Acceptance,
    Attempt,
    Bounce,
    ChannelAdapter,
    DeliveryResult,
    MissedDeadline,
    Parcel,
    UnconfirmedAttempt,
)
from pipeline.delivery.courier import Courier, FindCancellation
from pipeline.delivery.ledger import Ledger, LedgerEntry
from pipeline.delivery.reporter import GatewayAddress, Reporter
from pipeline.delivery.webhook import Endpoint, WebhookAdapter
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier

_ACTION = Action(
    action_id="a",
    decision_id="d",
    event_id="e",
    profile_id="p",
    identifier=Identifier("email", "x@example.com"),
    purpose="marketing",
    campaign="c",
    offer="o",
    treatment="t",
    channel="email",
    placement=None,
    address="x@example.com",
    content={},
    created_at=0,
    deadline_at=1_000,
    token="token",
)

_TRACE = traces.new_trace()


def _deliver_after_kill(folder: Path, written_ms: int, hops: list[str] | None = None) -> list[str]:
    """Return reported outcomes, and `post` for each post to the receiver; `hops` gets the
    `traceparent` of each post and outcome."""
    calls: list[str] = []
    trace_headers = [] if hops is None else hops

    async def gateway(request: web.Request) -> web.Response:
        outcomes = (await request.json())["outcomes"]
        calls.extend(outcome["outcome"] for outcome in outcomes)
        trace_headers.extend(outcome.get("traceparent", "") for outcome in outcomes)
        return web.json_response({"success": True})

    async def receiver(request: web.Request) -> web.Response:
        calls.append("post")
        trace_headers.append(request.headers["traceparent"])
        return web.Response(status=204)

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/v1/outcomes", gateway)
        app.router.add_post("/hook", receiver)
        async with TestServer(app) as server, ClientSession() as client:
            url = str(server.make_url("")).rstrip("/")
            ledger = Ledger(folder)
            reporter = Reporter(client, lambda: GatewayAddress(url, "key"))
            endpoint = Endpoint(f"{url}/hook", None)
            courier = Courier(WebhookAdapter(client, lambda _: endpoint), ledger, reporter)
            try:
                assert await courier.deliver(Parcel(_ACTION, written_ms, _TRACE)) is None
            finally:
                ledger.close()

    asyncio.run(run())
    return calls


@pytest.fixture
def now_ms() -> int:
    return clock.now_ms()


def _leave_ledger(folder: Path, entry: LedgerEntry) -> Path:
    ledger = Ledger(folder)
    ledger.put("a", entry)
    ledger.close()
    return folder


def test_action_is_posted_once_and_its_outcome_reported(tmp_path: Path, now_ms: int) -> None:
    assert _deliver_after_kill(tmp_path, now_ms) == ["post", "sent"]
    assert _deliver_after_kill(tmp_path, now_ms) == []


def test_post_and_outcome_are_hops_of_the_trace_of_their_action(
    tmp_path: Path, now_ms: int
) -> None:
    hops: list[str] = []
    assert _deliver_after_kill(tmp_path, now_ms, hops) == ["post", "sent"]
    assert [traces.continue_trace(hop) for hop in hops] == [_TRACE, _TRACE]
    assert len(set(hops)) == len(hops)


def test_action_first_tried_after_its_deadline_is_expired(tmp_path: Path, now_ms: int) -> None:
    assert _deliver_after_kill(tmp_path, now_ms - 60_000) == ["expired"]


def test_attempt_cut_off_by_a_kill_is_repeated_before_the_deadline(
    tmp_path: Path, now_ms: int
) -> None:
    assert _deliver_after_kill(_leave_ledger(tmp_path, LedgerEntry()), now_ms) == ["post", "sent"]


def test_attempt_cut_off_by_a_kill_counts_as_sent_after_the_deadline(
    tmp_path: Path, now_ms: int
) -> None:
    assert _deliver_after_kill(_leave_ledger(tmp_path, LedgerEntry()), now_ms - 60_000) == ["sent"]


def test_delivery_not_yet_reported_before_a_kill_is_reported_once(
    tmp_path: Path, now_ms: int
) -> None:
    report = LedgerEntry(b'{"token":"token","outcome":"sent","timestamp":1}')
    assert _deliver_after_kill(_leave_ledger(tmp_path, report), now_ms) == ["sent"]


class _PostcardAdapter:
    """Adapter of a channel that is not a webhook."""

    def __init__(self, result: DeliveryResult, is_served: bool, may_repeat: bool = True) -> None:
        self._result, self._is_served, self._may_repeat = result, is_served, may_repeat
        self.action_ids: list[str] = []

    def serves(self, channel: str) -> bool:
        return self._is_served

    def may_repeat(self, channel: str) -> bool:
        return self._may_repeat

    async def deliver(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        attempt.begin()
        self.action_ids.append(parcel.action.action_id)
        return self._result


@pytest.mark.parametrize(
    ("result", "is_served", "outcome"),
    [
        (Acceptance(), True, "sent"),
        (Bounce(550), True, "bounce"),
        (MissedDeadline("busy"), True, "expired"),
        (MissedDeadline("no answer", unsure=True), True, "sent"),
        (UnconfirmedAttempt("cut off"), True, "sent"),
        (Acceptance(), False, "bounce"),
    ],
)
def test_result_of_any_adapter_becomes_an_outcome(
    tmp_path: Path, now_ms: int, result: DeliveryResult, is_served: bool, outcome: str
) -> None:
    adapter = _PostcardAdapter(result, is_served)
    outcomes = _deliver_with(adapter, tmp_path, now_ms)
    assert (adapter.action_ids, outcomes) == (["a"] if is_served else [], [outcome])
    assert _deliver_with(adapter, tmp_path, now_ms) == []


@pytest.mark.parametrize(("may_repeat", "expected_calls"), [(False, []), (True, ["a"])])
def test_attempt_cut_off_by_a_kill_is_repeated_only_where_that_is_allowed(
    tmp_path: Path, now_ms: int, may_repeat: bool, expected_calls: list[str]
) -> None:
    adapter = _PostcardAdapter(Acceptance(), is_served=True, may_repeat=may_repeat)
    folder = _leave_ledger(tmp_path, LedgerEntry(token="token"))
    assert _deliver_with(adapter, folder, now_ms) == ["sent"]
    assert adapter.action_ids == expected_calls


class _BusyAdapter:
    """Adapter whose receiver is busy at the first try; `is_answered`: whether its answers
    arrive."""

    def __init__(self, is_answered: bool) -> None:
        self._is_answered = is_answered
        self.tries = 0

    def serves(self, channel: str) -> bool:
        return True

    def may_repeat(self, channel: str) -> bool:
        return True

    async def deliver(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        for _ in range(2):
            attempt.begin()
            self.tries += 1
            if self._is_answered:
                attempt.record_failure()
        return Acceptance()


@pytest.mark.parametrize(
    ("earlier_tries", "is_answered", "tries", "outcome"),
    [
        (0, True, 0, ("expired", {"cancelled": "complained"})),
        (1, True, 1, ("expired", {"cancelled": "complained"})),
        (1, False, 1, ("sent", {"unconfirmed": "cancelled: complained"})),
        (2, True, 2, ("sent", {})),
    ],
)
def test_cancelled_action_is_not_tried_any_more(
    tmp_path: Path,
    now_ms: int,
    earlier_tries: int,
    is_answered: bool,
    tries: int,
    outcome: tuple[str, dict[str, str]],
) -> None:
    # `earlier_tries`: tries before the action is cancelled.
    adapter = _BusyAdapter(is_answered)
    reports: list[dict[str, Any]] = []
    _deliver_with(
        adapter,
        tmp_path,
        now_ms,
        find_cancellation=lambda _: "complained" if adapter.tries >= earlier_tries else None,
        reports=reports,
    )
    assert adapter.tries == tries
    assert [(report["outcome"], report.get("properties", {})) for report in reports] == [outcome]


class _KilledError(Exception):
    """Raised to end a process."""


class _KilledAdapter(_BusyAdapter):
    """Adapter of a process that is killed after `tries` tries, of which only the last failed."""

    def __init__(self, tries: int) -> None:
        super().__init__(is_answered=False)
        self._last_try = tries

    async def deliver(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        for _ in range(self._last_try):
            attempt.begin()
        attempt.record_failure()
        raise _KilledError


@pytest.mark.parametrize(("tries", "expected_calls"), [(1, ["a"]), (2, [])])
def test_try_without_an_answer_is_recorded_where_a_later_one_failed(
    tmp_path: Path, now_ms: int, tries: int, expected_calls: list[str]
) -> None:
    with pytest.raises(_KilledError):
        _deliver_with(_KilledAdapter(tries), tmp_path, now_ms)
    adapter = _PostcardAdapter(Acceptance(), is_served=True, may_repeat=False)
    assert _deliver_with(adapter, tmp_path, now_ms) == ["sent"]
    assert adapter.action_ids == expected_calls


def test_every_adapter_of_the_configuration_is_registered() -> None:
    adapter_names = get_args(get_type_hints(model.Channel)["adapter"])
    assert set(ADAPTERS) == set(adapter_names) - {"none"}


def _deliver_with(
    adapter: ChannelAdapter,
    folder: Path,
    written_ms: int,
    find_cancellation: FindCancellation = lambda _: None,
    reports: list[dict[str, Any]] | None = None,
) -> list[str]:
    outcomes: list[dict[str, Any]] = [] if reports is None else reports

    async def gateway(request: web.Request) -> web.Response:
        outcomes.extend((await request.json())["outcomes"])
        return web.json_response({"success": True})

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/v1/outcomes", gateway)
        async with TestServer(app) as server, ClientSession() as client:
            url = str(server.make_url("")).rstrip("/")
            ledger = Ledger(folder)
            reporter = Reporter(client, lambda: GatewayAddress(url, "key"))
            try:
                courier = Courier(adapter, ledger, reporter, find_cancellation)
                assert await courier.deliver(Parcel(_ACTION, written_ms, _TRACE)) is None
            finally:
                ledger.close()

    asyncio.run(run())
    return [report["outcome"] for report in outcomes]
