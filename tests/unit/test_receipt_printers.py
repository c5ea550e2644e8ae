"""Receipts on a network printer: each is printed once at most, and never without paper."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pipeline.adapters.receipt_paper import encode_escpos, paper_receipt
from pipeline.config import model
from pipeline.config.compile import compile_bundle
from pipeline.config.compiled import CompiledChannel
from pipeline.config.printer_urls import Printer, PrinterUrlProblem, parse_printer_url
from pipeline.delivery.channel_adapter import (
    Acceptance,
    DeliveryResult,
    MissedDeadline,
    UnconfirmedAttempt,
)
from pipeline.delivery.pos.adapter import ASK_STATE, PAPER_END, PosAdapter
from pipeline.delivery.pos.trial import LocalPrinter, send_trial
from pipeline.delivery.trial_delivery import trial_host
from tests.support.attempts import RecordedAttempt
from tests.support.providers import expiring_parcel
from tests.unit.test_courier import _ACTION

_CONTENT = {"title": "¡Gracias!", "text": "Ahorra 10 € en su próxima compra."}
_RECEIPT = encode_escpos(paper_receipt(_CONTENT, None), 32)

_SHORT_DEADLINE_S = 2.0
"""Time to a deadline that is missed, long enough to ask the printer on a busy machine."""


def _print(
    printer: LocalPrinter,
    deadline_s: float = 20.0,
    act_meanwhile: Callable[[], Awaitable[None]] | None = None,
    url: str | None = None,
) -> tuple[DeliveryResult, list[str]]:
    async def run() -> tuple[DeliveryResult, list[str]]:
        async with printer.listening() as local_url:
            channel = CompiledChannel("pos", "pos", url or local_url, None, (), pos=model.Pos(32))
            attempts = RecordedAttempt()
            adapter = PosAdapter(trial_host(channel, "secret"))
            meanwhile_task = asyncio.ensure_future(act_meanwhile()) if act_meanwhile else None
            parcel = expiring_parcel(_ACTION, deadline_s, channel="pos", content=_CONTENT)
            result = await adapter.deliver(parcel, attempts)
            if meanwhile_task is not None:
                await meanwhile_task
            return result, attempts.records

    return asyncio.run(run())


def test_receipt_of_the_printer_equals_the_gateways() -> None:
    printer = LocalPrinter()
    assert _print(printer) == (Acceptance(), ["begun"])
    assert printer.receipts == [_RECEIPT]
    assert "10 € en".encode("cp858") in _RECEIPT


def test_printer_without_paper_prints_after_a_refill() -> None:
    printer = LocalPrinter()
    printer.state = PAPER_END

    async def refill() -> None:
        await asyncio.sleep(0.3)
        printer.state = 0

    assert _print(printer, act_meanwhile=refill) == (Acceptance(), ["begun"])
    assert printer.receipts == [_RECEIPT]


def test_printer_that_stays_without_paper_expires_the_message_unprinted() -> None:
    printer = LocalPrinter()
    printer.state = PAPER_END
    assert _print(printer, _SHORT_DEADLINE_S) == (MissedDeadline("the printer has no paper"), [])
    assert printer.receipts == []


@pytest.mark.parametrize("state", [0x80, 0x10, 0xFF])
def test_printer_that_answers_nonsense_gets_no_receipt(state: int) -> None:
    printer = LocalPrinter()
    printer.state = state
    assert _print(printer, _SHORT_DEADLINE_S) == (
        MissedDeadline("the printer's answer is invalid"),
        [],
    )
    assert printer.receipts == []


def test_slow_printer_prints_the_receipt_once() -> None:
    printer = _SlowPrinter()
    assert _print(printer) == (Acceptance(), ["begun"])
    assert printer.receipts == [_RECEIPT]


def test_printer_that_is_away_expires_the_message() -> None:
    result, attempts = _print(LocalPrinter(), _SHORT_DEADLINE_S, url="tcp://127.0.0.1:1")
    assert isinstance(result, MissedDeadline)
    assert (result.unsure, attempts) == (False, [])


class _SlowPrinter(LocalPrinter):
    """Printer that answers slowly."""

    async def _serve(self, reader: Any, writer: Any) -> None:
        for _ in range(2):
            receipt = (await reader.readuntil(ASK_STATE)).removesuffix(ASK_STATE)
            await asyncio.sleep(0.3)
            self.receipts += [receipt] if receipt else []
            writer.write(b"\0")
        writer.close()


class _FailingPrinter(LocalPrinter):
    """Printer that ends the connection, or its paper, within the first receipt."""

    def __init__(self, later_state: int | None) -> None:
        super().__init__()
        self.later_state = later_state

    async def _serve(self, reader: Any, writer: Any) -> None:
        writer.write(b"\0" if await reader.read(3) else b"")
        await reader.read(len(_RECEIPT) + 3)
        self.receipts.append(_RECEIPT)
        if self.later_state is not None:
            writer.write(bytes([self.later_state]))
            await writer.drain()
        writer.close()


@pytest.mark.parametrize("state", [None, PAPER_END, 0x90, 0x92])
def test_receipt_of_unknown_fate_is_not_printed_again(state: int | None) -> None:
    printer = _FailingPrinter(state)
    result, attempts = _print(printer)
    assert isinstance(result, UnconfirmedAttempt)
    assert (attempts, len(printer.receipts)) == (["begun"], 1)


def test_trial_shows_the_receipt() -> None:
    lines = asyncio.run(send_trial("Ana", None, "secret")).splitlines()
    assert lines[0].startswith("accepted")
    assert "This receipt is for Ana." in lines


@pytest.mark.parametrize(
    ("url", "printer"),
    [
        ("tcp://printer.shop.example", Printer("printer.shop.example", 9100)),
        ("tcp://10.0.0.7:9101/", Printer("10.0.0.7", 9101)),
        ("tcp://[::1]:9100", Printer("::1", 9100)),
    ],
)
def test_url_names_a_printer(url: str, printer: Printer) -> None:
    assert parse_printer_url(url) == printer


@pytest.mark.parametrize(
    "url", ["", "http://printer", "tcp://", "tcp://a:99999", "tcp://u@a", "tcp://a/b", "tcp://a b"]
)
def test_urls_of_no_printer_are_refused(url: str) -> None:
    assert isinstance(parse_printer_url(url), PrinterUrlProblem)


@pytest.mark.parametrize(
    ("channel", "content", "words"),
    [
        ({"url": "tcp://printer"}, {"text": "Hi"}, "go together"),
        ({"pos": model.Pos(), "url": "http://x"}, {"text": "Hi"}, "tcp://HOST"),
        ({"pos": model.Pos()}, {"text": "Hi"}, "tcp://HOST"),
        ({"pos": model.Pos(), "url": "tcp://printer"}, {"title": "Hi"}, "needs a 'text'"),
        ({"pos": model.Pos(), "url": "tcp://printer"}, {"text": "Hi", "coupon": "x"}, "coupons"),
        ({"pos": model.Pos(), "url": "tcp://printer"}, {"text": "Hi"}, None),
    ],
)
def test_configuration_is_checked(
    channel: dict[str, Any], content: dict[str, str], words: str | None
) -> None:
    treatment = model.Treatment("note", "pos", content=content)
    bundle = model.Bundle(
        sources=model.Sources((model.Source("shop", "web", "shop-key-1"),)),
        identity=model.Identity((model.Namespace("customer_id"),)),
        channels=model.Channels((model.Channel("pos", adapter="pos", **channel),)),
        campaigns=(
            model.Campaign(
                "c",
                (model.Offer("o", 1.0, (treatment,)),),
                trigger={"name": "Order"},
                purpose="transactional",
            ),
        ),
    )
    compiled_bundle = compile_bundle(bundle)
    problems = compiled_bundle if isinstance(compiled_bundle, tuple) else ()
    assert bool(problems) is (words is not None)
    assert words is None or any(words in problem.message for problem in problems), problems
