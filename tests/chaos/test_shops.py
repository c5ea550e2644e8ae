"""Tills and the desk of calls under kills: a payment counts once, a coupon is redeemed once over
any number of tills and gateways, one person takes a call, and each result counts once."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx
import msgspec
import pytest

from pipeline.adapters.broker.ports import find_free_port
from pipeline.adapters.run_state import announcements
from pipeline.delivery.push.trial import new_key
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.interaction import Interaction
from pipeline.model.stages import Segmented
from pipeline.stack.control import StackError
from tests.chaos.killing import SEED, kills
from tests.support.stack import Stack, eventually, running_stack

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

_CONFIGURATION = Path(__file__).parent / "channels"
_GATEWAY, _SECOND_GATEWAY = "gateway", "gateway-second"
_PAYMENTS, _TILLS = 40, 3
_CALLS = 2
_PATIENCE_S = 150.0


@dataclass(frozen=True)
class _Shops:
    """Stack whose own gateway is killed, and the URL of another gateway."""

    stack: Stack
    second_url: str

    def post(self, till: int, path: str, body: object) -> httpx.Response:
        """Post to the gateways in turn, as tills do, until the answer is not 503; return it."""
        attempt = till

        def post_once() -> httpx.Response | None:
            nonlocal attempt
            attempt += 1
            try:
                url = self.second_url if attempt % 2 else self.stack.url
                with httpx.Client(
                    auth=("test-till-key", ""), timeout=10, trust_env=False
                ) as client:
                    answer = client.post(url + path, json=body)
            except (httpx.TransportError, StackError):
                return None
            return None if answer.status_code == 503 else answer

        return _wait_for_answer(post_once)

    def read_interactions(self) -> list[Interaction]:
        """Return the interactions that all stages have processed."""
        self.stack.wait_until_idle()
        records = self.stack.records.read_all(topics.SEGMENTED, Segmented)
        return [
            segmented.interaction for _, segmented in records if segmented.interaction is not None
        ]


def _wait_for_answer(ask: Callable[[], httpx.Response | None]) -> httpx.Response:
    """Return the first answer; errors are answers too, though httpx counts them as false."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while (answer := ask()) is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    return answer


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Shops]:
    unused_port = str(find_free_port())
    ports = ("TEST_SMTP_PORT", "TEST_SERVICES_PORT", "TEST_PRINTER_PORT", "TEST_GATEWAY_PORT")
    variables = {
        **dict.fromkeys(ports, unused_port),
        "KAIROS_PARTITIONS": "2",
        "TEST_PROVIDER_SECRET": "unused",
        "TEST_VAPID": new_key(),
    }
    stack = Stack(tmp_path_factory.mktemp("shops") / "home", _CONFIGURATION, variables)
    with running_stack(stack):
        second_gateway = stack.start("gateway", "--instance", _SECOND_GATEWAY, "--port", "0")
        try:
            yield _Shops(stack, eventually(lambda: _find_second_url(stack)))
        finally:
            second_gateway.terminate()
            second_gateway.wait(120)


def _find_second_url(stack: Stack) -> str | None:
    """Return the URL of the second gateway, None until it is announced."""
    announcement = announcements(stack.home).get(_SECOND_GATEWAY)
    return (
        f"http://127.0.0.1:{announcement.ports['http']}"
        if announcement and announcement.ports
        else None
    )


def test_payment_counts_once_and_its_coupon_is_redeemed_once(
    shops: _Shops, note: Callable[[str], None]
) -> None:
    with (
        kills(shops.stack, (_GATEWAY,), (1.0, 4.0), Random(f"{SEED}/tills")) as kill_counts,
        ThreadPoolExecutor(_TILLS) as tills,
    ):
        answers = list(tills.map(lambda number: _pay(shops, number), range(_PAYMENTS)))
        codes = [answer["receipt"]["coupon"] for answer in answers if answer["receipt"] is not None]
        sales = [(code, till) for code in codes for till in range(_TILLS)]
        Random(f"{SEED}/sales").shuffle(sales)
        first_answers = dict(
            zip(sales, tills.map(lambda sale: _redeem(shops, *sale), sales), strict=True)
        )
        second_answers = dict(
            zip(sales, tills.map(lambda sale: _redeem(shops, *sale), sales), strict=True)
        )
        eventually(lambda: kill_counts.total() >= 4, _PATIENCE_S)
    note(
        f"tills: {len(codes)} coupons of {_PAYMENTS} payments; "
        f"gateway killed {kill_counts.total()} times"
    )
    assert len(codes) > _PAYMENTS // 2
    assert len(set(codes)) == len(codes)
    assert second_answers == first_answers
    for code in codes:
        assert sorted(first_answers[code, till] for till in range(_TILLS)) == [200, 409, 409], code
    interactions = shops.read_interactions()
    payments = Counter(
        interaction.event_id for interaction in interactions if interaction.name == "Payment"
    )
    assert payments == Counter(f"payment-{number}" for number in range(_PAYMENTS))
    redemptions = Counter(
        interaction.properties["coupon"]
        for interaction in interactions
        if _goal(interaction) == "coupon"
    )
    assert redemptions == Counter(code.replace("-", "") for code in codes)
    decisions_by_event = Counter(
        decision.event_id
        for _, decision in shops.stack.records.read_all(topics.DECISIONS, Decision)
    )
    assert max(decisions_by_event.values()) == 1


def _pay(shops: _Shops, number: int) -> Any:
    payment = {
        "type": "track",
        "event": "Payment",
        "userId": f"c{number}",
        "messageId": f"payment-{number}",
    }
    answer = shops.post(number, "/v1/receipts", {"interaction": payment, "width": 32})
    assert answer.status_code == 200, answer.text
    return answer.json()


def _redeem(shops: _Shops, code: str, till: int) -> int:
    body = {"code": code, "redemptionId": f"till-{till}/{code}"}
    return shops.post(till, "/v1/coupons/redeem", body).status_code


def test_call_is_taken_by_one_person_and_its_result_counts_once(
    shops: _Shops, note: Callable[[str], None]
) -> None:
    with kills(shops.stack, (_GATEWAY,), (5.0, 15.0), Random(f"{SEED}/calls")) as kill_counts:
        for number in range(_CALLS):
            message = {
                "event": "Callback Requested",
                "userId": f"c{number}",
                "messageId": f"callback-{number}",
                "context": {"traits": {"phone": f"+3460011{number:04d}"}},
            }
            assert shops.post(number, "/v1/track", message).status_code == 200
        task_ids = [task["id"] for task in eventually(lambda: _find_open_tasks(shops.stack))]
        people = ("ana", "eva")
        pairs = [(task, person) for task in task_ids for person in people]
        with ThreadPoolExecutor(2) as desk:
            results = dict(
                zip(
                    pairs,
                    desk.map(lambda pair: _try_to_take(shops.stack, *pair), pairs),
                    strict=True,
                )
            )
        for task in task_ids:
            _finish_task(shops.stack, task)
    note(f"desk: {_CALLS} calls, gateway killed {kill_counts.total()} times")
    for task in task_ids:
        assert sorted(results[task, person] for person in people) == [False, True], task
    interactions = shops.read_interactions()
    sent_counts = Counter(
        interaction.properties["action_id"]
        for interaction in interactions
        if interaction.name == "sent"
    )
    result_counts = Counter(
        interaction.properties["action_id"]
        for interaction in interactions
        if _goal(interaction) == "call"
    )
    assert sent_counts == result_counts == Counter(task_ids)


def _goal(interaction: Interaction) -> object:
    return interaction.properties["goal"] if interaction.name == "conversion" else None


def _find_open_tasks(stack: Stack) -> list[dict[str, Any]] | None:
    tasks: list[dict[str, Any]] = stack.ask("desk", "list")
    return tasks if len(tasks) == _CALLS else None


def _try_to_take(stack: Stack, task: str, person: str) -> bool:
    """Try to take a task for `person` until somebody has it; return whether `person` has it."""

    def take() -> str | None:
        result = stack.run("desk", "take", task, "--by", person)
        return "mine" if result.returncode == 0 else _find_holder(stack, task)

    return eventually(take, _PATIENCE_S) in ("mine", person)


def _find_holder(stack: Stack, task: str) -> str | None:
    all_tasks = msgspec.json.decode(stack.kairos("desk", "list", "--all", "--json"))
    row = next(row for row in all_tasks if row["id"] == task)
    return row["by"]


def _finish_task(stack: Stack, task: str) -> None:
    def finish() -> bool:
        stack.run("desk", "done", task, "--result", "accepted")
        all_tasks = msgspec.json.decode(stack.kairos("desk", "list", "--all", "--json"))
        return next(row for row in all_tasks if row["id"] == task)["state"] == "done"

    eventually(finish, _PATIENCE_S)
