"""Receipts and coupons: printed lines, and codes that are redeemed once."""

import asyncio
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.adapters.coupon_codes import CouponCodes, format_code, read_code
from pipeline.adapters.kafka import OutgoingRecord
from pipeline.adapters.receipt_paper import PaperReceipt, encode_escpos, format_lines
from pipeline.config import model
from pipeline.gateway.coupon_book import CouponBook
from pipeline.model import topics
from pipeline.model.coupon import CouponRecord
from pipeline.model.decision import Action, Answer, Reply
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.time import DAY_MS
from pipeline.rules.token import Claims
from tests.support.doorway import Doorway, configuration, doorway

TILL, SHOP = "till-key-1", "shop-key-1"
CODES = CouponCodes("test" * 8)
ANA = Identifier("customer_id", "ana")


@pytest.fixture
def config() -> Any:
    return configuration(model.Source("till", "pos", TILL), model.Source("shop", "web", SHOP))


def _serve(door: Doorway, *other_doors: Doorway, content: dict[str, str] | None = None) -> None:
    """Let gateways read the records that any of them publishes; replies have `content`."""

    def process(records: Sequence[OutgoingRecord]) -> None:
        for record in records:
            value = door.codec.decode(record.topic, record.value or b"")
            if isinstance(value, CouponRecord):
                for gateway in (door, *other_doors):
                    gateway.coupons.book.apply([value])
            if isinstance(value, Interaction) and value.request is not None and content:
                action = _action(door, content)
                placement = value.request.placements[0]
                answer = (Answer(placement, action),)
                door.pending_replies.deliver([Reply(value.request.request_id, "d-1", "e", answer)])

    for gateway in (door, *other_doors):
        gateway.log.on_publish = process
        gateway.coupons.book.is_current = True


def _action(door: Doorway, content: dict[str, str]) -> Action:
    claims = Claims("a-1", "d-1", ANA, "pos", "spring", "shoes", "shoes-pos", 0)
    return Action(
        action_id="a-1",
        decision_id="d-1",
        event_id="e",
        profile_id="p",
        identifier=ANA,
        purpose="marketing",
        campaign="spring",
        offer="shoes",
        treatment="shoes-pos",
        channel="pos",
        placement="receipt",
        address=None,
        content=content,
        created_at=0,
        deadline_at=60_000,
        token=door.tokens.sign(claims),
    )


def _post(door: Doorway, path: str, body: dict[str, Any], key: str = TILL) -> httpx.Response:
    return door.request("POST", path, key, json=body)


def _pay(door: Doorway, **fields: Any) -> Any:
    payment = {"type": "track", "event": "Payment", "userId": "ana", "properties": {"amount": 12.5}}
    body = {"interaction": payment, "budget_ms": 20_000, **fields}
    answer = _post(door, "/v1/receipts", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _redeem(door: Doorway, code: str, redemption: str, key: str = TILL) -> httpx.Response:
    body = {"code": code, "redemptionId": redemption, "properties": {"amount": 30}}
    return _post(door, "/v1/coupons/redeem", body, key)


def _issue(door: Doorway, action_id: str = "a-1", expires_at: int = 1 << 50) -> str:
    claims = Claims(action_id, "d-1", ANA, "pos", "spring", "shoes", "shoes-pos", 0)
    code = CODES.code_of(action_id)
    door.coupons.book.apply([CouponRecord(code, 0, door.tokens.sign(claims), expires_at)])
    return code


def test_payment_is_answered_with_lines_and_a_code(config: Any, tmp_path: Path) -> None:
    door = doorway(config, tmp_path, decide_ms=20_000)
    _serve(door, content={"title": "¡Gracias!", "text": "Ahorra 10 €.", "coupon": "10 % off"})
    answer = _pay(door, width=32)
    receipt = answer["receipt"]
    assert receipt["coupon"] == format_code(CODES.code_of("a-1"))
    assert receipt["coupon"] in receipt["text"]
    assert max(map(len, receipt["text"].splitlines())) <= 32
    paper = b64decode(receipt["escpos"])
    assert paper.startswith(b"\x1b@")
    assert "¡Gracias!\n".encode("cp858") in paper
    assert "Ahorra 10 €.\n".encode("cp858") in paper
    assert b"1P0" + CODES.code_of("a-1").encode() in paper
    assert receipt["action"]["token"]
    [payment] = door.interactions()
    assert (payment.name, payment.channel) == ("Payment", "pos")
    redemption = _redeem(door, receipt["coupon"].lower(), "sale-1")
    assert redemption.status_code == 200


def test_receipt_without_coupon_issues_no_code(config: Any, tmp_path: Path) -> None:
    door = doorway(config, tmp_path, decide_ms=20_000)
    _serve(door, content={"text": "Gracias"})
    assert _pay(door)["receipt"]["coupon"] is None
    assert topics.COUPONS not in door.log.topics()


def test_payment_without_a_decision_in_time_prints_nothing(config: Any, tmp_path: Path) -> None:
    door = doorway(config, tmp_path)
    _serve(door)
    answer = _pay(door, budget_ms=1)
    assert (answer["decision_id"], answer["receipt"], answer["defaulted"]) == (None, None, True)


def test_width_that_no_printer_has_is_refused(config: Any, tmp_path: Path) -> None:
    door = doorway(config, tmp_path)
    body = {"interaction": {"type": "track", "event": "x", "userId": "a"}, "width": 3}
    answer = _post(door, "/v1/receipts", body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "width")


def test_code_is_redeemed_once_over_gateways_and_tills(config: Any, tmp_path: Path) -> None:
    # Twenty tills redeem at two gateways, all at once; each then repeats its request.
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    doors = [doorway(config, tmp_path / name) for name in ("one", "two")]
    doors[1].log.records = doors[0].log.records
    _serve(*doors)
    code, _ = (_issue(door) for door in doors)
    requests = [
        (doors[till % 2], f"sale-{till}", [TILL, SHOP][till % 3 == 0]) for till in range(20)
    ]

    async def redeem_all() -> list[int]:
        async def send(door: Doorway, redemption: str, key: str) -> int:
            body = {"code": code, "redemptionId": redemption}
            async with door.client(key) as client:
                return (await client.post("/v1/coupons/redeem", json=body)).status_code

        return list(await asyncio.gather(*(send(*request) for request in requests)))

    statuses = asyncio.run(redeem_all())
    assert sorted(statuses) == [200, *[409] * 19]
    assert asyncio.run(redeem_all()) == statuses
    conversions = [
        interaction for interaction in doors[0].interactions() if interaction.name == "conversion"
    ]
    assert len({conversion.event_id for conversion in conversions}) == 1
    assert conversions[0].properties["goal"] == "coupon"
    assert conversions[0].identifiers == (ANA,)


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("", 400, "invalid_code"),
        ("0000-0000-0000-0000", 400, "invalid_code"),
        ("0000-0000-0000", 404, "unknown_code"),
    ],
)
def test_code_that_was_not_issued_is_refused(
    config: Any, tmp_path: Path, text: str, status: int, code: str
) -> None:
    door = doorway(config, tmp_path)
    _serve(door)
    answer = _redeem(door, text, "sale")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_expired_code_is_refused_and_converts_nothing(config: Any, tmp_path: Path) -> None:
    door = doorway(config, tmp_path)
    _serve(door)
    code = _issue(door, expires_at=DAY_MS)
    assert _redeem(door, code, "sale").status_code == 410
    assert door.interactions() == []


def test_redemption_while_kafka_is_away_can_be_sent_again(config: Any, tmp_path: Path) -> None:
    door = doorway(config, tmp_path)
    _serve(door)
    code = _issue(door)
    door.log.failure = "away"
    assert _redeem(door, code, "sale").status_code == 503
    door.log.failure = None
    assert _redeem(door, code, "sale").status_code == 200
    assert _redeem(door, code, "other").status_code == 409


def test_redemption_before_the_coupons_are_read_is_sent_again(config: Any, tmp_path: Path) -> None:
    door = doorway(config, tmp_path)
    assert _redeem(door, CODES.code_of("a-1"), "sale").status_code == 503


_CODE = CODES.code_of("law")
_RECORDS = st.builds(
    CouponRecord,
    code=st.just(_CODE),
    at=st.integers(0, 20),
    redemption_id=st.sampled_from(["a", "b", "c"]),
    source=st.just("till"),
)


@given(records=st.lists(_RECORDS), repeats=st.lists(st.integers(0, 5)))
def test_first_redemption_in_the_topic_before_expiry_wins(
    records: list[CouponRecord], repeats: list[int]
) -> None:
    issue = CouponRecord(_CODE, 0, "token", 10)
    log = [issue, *records]
    for position in repeats:
        log.insert(min(position + 1, len(log)), issue)  # a repeated issue changes nothing
    book = CouponBook({})
    book.apply(log)
    coupon = book.find(_CODE)
    assert coupon is not None
    valid_records = [record for record in records if record.at < 10]
    winner = coupon.redemption and (coupon.redemption.redemption_id, coupon.redemption.at)
    assert winner == (
        (valid_records[0].redemption_id, valid_records[0].at) if valid_records else None
    )


@given(st.text(max_size=40))
def test_code_is_read_as_it_is_typed(action_id: str) -> None:
    code = CODES.code_of(action_id)
    assert read_code(code) == read_code(format_code(code).lower()) == code
    assert read_code(format_code(code).replace("0", "o").replace("1", "l")) == code
    assert CouponCodes("another").code_of(action_id) != code


@given(title=st.text(max_size=60), text=st.text(max_size=300), width=st.integers(16, 80))
def test_lines_fit_the_paper_and_the_printer(title: str, text: str, width: int) -> None:
    receipt = PaperReceipt(title, text, "10 %", _CODE)
    lines = format_lines(receipt, width)
    assert all(len(line) <= width for line in lines)
    assert "\n".join(lines).encode("cp858")
    paper = encode_escpos(receipt, width)
    assert paper.endswith(b"\x1dVB\x03")
    body = encode_escpos(replace(receipt, code=None, title=""), width)
    content = body.removeprefix(b"\x1b@\x1bt\x13\x1ba\x00").removesuffix(b"\x1dVB\x03")
    assert all(byte == 10 or byte >= 32 for byte in content)
