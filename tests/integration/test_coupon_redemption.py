"""Coupons over a real broker and two gateways."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from pipeline.adapters.run_state import announcements
from pipeline.model import topics
from pipeline.model.interaction import Interaction
from tests.support.stack import Stack, eventually

TILL_KEY = "test-till-key"
SECOND_GATEWAY = "gateway-second"


@pytest.fixture
def gateways(stack: Stack) -> Iterator[list[str]]:
    """URLs of the stack's gateway and of a second one."""
    second_gateway = stack.start("gateway", "--instance", SECOND_GATEWAY, "--port", "0")

    def find_url() -> str | None:
        announcement = announcements(stack.home).get(SECOND_GATEWAY)
        return (
            f"http://127.0.0.1:{announcement.ports['http']}"
            if announcement and announcement.ports
            else None
        )

    try:
        url = eventually(find_url)
        eventually(lambda: _is_up(url))
        yield [stack.url, url]
    finally:
        second_gateway.terminate()
        second_gateway.wait(120)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _post(url: str, path: str, body: object) -> httpx.Response:
    with httpx.Client(base_url=url, auth=(TILL_KEY, ""), timeout=30, trust_env=False) as client:
        return client.post(path, json=body)


def test_code_on_a_receipt_is_redeemed_once_over_two_gateways(
    stack: Stack, gateways: list[str]
) -> None:
    customer = uuid4().hex
    payment = {"type": "track", "event": "Payment", "userId": customer}
    answer = _post(gateways[0], "/v1/receipts", {"interaction": payment, "width": 32})
    assert answer.status_code == 200, answer.text
    receipt = answer.json()["receipt"]
    assert receipt["coupon"] in receipt["text"]
    sales = [
        (gateways[till % 2], {"code": receipt["coupon"], "redemptionId": f"{till}"})
        for till in range(8)
    ]

    def redeem(sale: tuple[str, dict[str, str]]) -> int:
        url, body = sale
        return eventually(
            lambda: (code := _post(url, "/v1/coupons/redeem", body).status_code) != 503 and code
        )

    with ThreadPoolExecutor(8) as pool:
        first_answers = list(pool.map(redeem, sales))
        second_answers = list(pool.map(redeem, sales))
    assert sorted(first_answers) == [200, *[409] * 7]
    assert second_answers == first_answers
    stack.wait_until_idle()
    action_id = receipt["action"]["action_id"]
    conversions = {
        interaction.event_id
        for _, interaction in stack.records.read_all(topics.INTERACTIONS, Interaction)
        if interaction.name == "conversion" and interaction.properties.get("action_id") == action_id
    }
    assert len(conversions) == 1
