"""Adapter of receipt printers, which prints an action on its channel's printer.

A printer does not recognise repeats. So the ledger records the attempt before the receipt is sent,
and an attempt without an answer is not repeated. The printer's state is requested before a receipt
(without paper the receipt is tried again later) and after it; the printer answers the second
request once it has processed the receipt.
"""

import asyncio
import os
import time
from asyncio import StreamReader, StreamWriter
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from pipeline.adapters.receipt_paper import encode_escpos, paper_receipt
from pipeline.config.compiled import CompiledChannel
from pipeline.config.keys import expand_variables
from pipeline.config.printer_urls import Printer, PrinterUrlProblem, parse_printer_url
from pipeline.delivery.channel_adapter import (
    Acceptance,
    AdapterHost,
    Attempt,
    Bounce,
    ChannelAdapter,
    DeliveryResult,
    Parcel,
    UnconfirmedAttempt,
)
from pipeline.delivery.retries import MisconfiguredError, TryAgainError, deliver_until

_MAX_WAIT_S: Final = 60.0
_CONNECT_S: Final = 5.0
_STATE_S: Final = 5.0
_PRINT_S: Final = 30.0

ASK_STATE: Final = b"\x1dr\x01"
"""GS r: transmit the state of the paper's sensors, after processing the preceding bytes."""

PAPER_END: Final = 0x0C
"""Bits of the answer that are set without paper."""

_UNUSED_BITS: Final = 0x90
"""Bits of the answer that no printer sets: a byte with them is not an answer."""


class PosAdapter:
    """Adapter that prints with the printer of each channel, one receipt after the other."""

    def __init__(self, host: AdapterHost) -> None:
        self._host = host
        self._locks: defaultdict[Printer, asyncio.Lock] = defaultdict(asyncio.Lock)

    def serves(self, channel: str) -> bool:
        config = self._host.find_channel(channel)
        return config is not None and config.pos is not None

    def may_repeat(self, channel: str) -> bool:
        """Return False: a repeated receipt would be a second receipt."""
        return False

    async def deliver(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        attempt_once = partial(self._try, parcel, attempt)
        return await deliver_until(parcel, _MAX_WAIT_S, self._host.faults, attempt_once)

    async def _try(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        channel = self._host.find_channel(parcel.action.channel)
        if channel is None or channel.pos is None:
            return Bounce(0)
        printer = _printer(channel)
        if isinstance(printer, PrinterUrlProblem):
            raise MisconfiguredError(f"channel {channel.name}: {printer.reason}")
        receipt = encode_escpos(paper_receipt(parcel.action.content, None), channel.pos.width)
        async with self._locks[printer], _connection(printer) as (reader, writer):
            if time.time() >= parcel.deadline_s:
                raise TryAgainError("the printer was not free in time")
            await _check_ready(reader, writer)
            attempt.begin()
            return await _print(reader, writer, receipt)


@asynccontextmanager
async def open_adapter(host: AdapterHost) -> AsyncIterator[ChannelAdapter]:
    """Open the adapter."""
    yield PosAdapter(host)


@asynccontextmanager
async def _connection(printer: Printer) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    try:
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection(printer.host, printer.port)
    except (OSError, TimeoutError) as error:
        raise TryAgainError(f"no connection to the printer: {type(error).__name__}") from error
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _check_ready(reader: StreamReader, writer: StreamWriter) -> None:
    """Raise TryAgainError where the printer does not answer, or has no paper."""
    try:
        state = await _ask(reader, writer, b"", _STATE_S)
    except (OSError, TimeoutError) as error:
        raise TryAgainError(f"the printer does not answer: {type(error).__name__}") from error
    if state is None:
        raise TryAgainError("the printer does not answer")
    if state & _UNUSED_BITS:
        raise TryAgainError("the printer's answer is invalid")
    if state & PAPER_END:
        raise TryAgainError("the printer has no paper")


async def _print(reader: StreamReader, writer: StreamWriter, receipt: bytes) -> DeliveryResult:
    try:
        state = await _ask(reader, writer, receipt, _PRINT_S)
    except (OSError, TimeoutError) as error:
        return UnconfirmedAttempt(f"no answer after the receipt: {type(error).__name__}")
    if state is None:
        return UnconfirmedAttempt("the printer ended the connection during the receipt")
    if state & _UNUSED_BITS:
        return UnconfirmedAttempt("the printer's answer after the receipt is invalid")
    return UnconfirmedAttempt("the paper ended") if state & PAPER_END else Acceptance()


async def _ask(
    reader: StreamReader, writer: StreamWriter, receipt: bytes, timeout_s: float
) -> int | None:
    """Send `receipt`, and request the state; return it, or None at the connection's end.

    Raises TimeoutError, OSError.
    """
    async with asyncio.timeout(timeout_s):
        writer.write(receipt + ASK_STATE)
        await writer.drain()
        answer = await reader.read(1)
    return answer[0] if answer else None


def _printer(channel: CompiledChannel) -> Printer | PrinterUrlProblem:
    """Return the channel's printer, with variables from this process's environment."""
    url = expand_variables(channel.url or "", os.environ)
    if url is None:
        return PrinterUrlProblem("a variable in `url` is not set here")
    return parse_printer_url(url)
