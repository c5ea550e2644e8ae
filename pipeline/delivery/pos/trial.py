"""Trial of receipt printers: one receipt through the adapter, to a local printer or a given one."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from pipeline.adapters.receipt_paper import format_lines, paper_receipt
from pipeline.config.compiled import CompiledChannel
from pipeline.config.model import Pos
from pipeline.delivery.pos.adapter import ASK_STATE, PosAdapter
from pipeline.delivery.trial_delivery import deliver_trial, trial_host

_HOST: Final = "127.0.0.1"


class LocalPrinter:
    """Receipt printer on this machine, which keeps the `receipts` that it prints.

    `state`: its answer to a request for its state; None: it does not answer.
    """

    def __init__(self) -> None:
        self.state: int | None = 0
        self.receipts: list[bytes] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen on any port during the context; yield the printer's URL."""
        server = await asyncio.start_server(self._serve, _HOST, 0)
        async with server:
            yield f"tcp://{_HOST}:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                receipt = (await reader.readuntil(ASK_STATE)).removesuffix(ASK_STATE)
                if receipt:
                    self.receipts.append(receipt)
                if self.state is not None:
                    writer.write(bytes([self.state]))
                    await writer.drain()
        writer.close()


async def send_trial(address: str, server_url: str | None, secret: str) -> str:
    """Print a receipt for `address`; return the result, and the lines if the printer is local."""
    content = {"title": "Kairos", "text": f"This receipt is for {address}.\nIt cost nothing."}
    printer, pos = LocalPrinter(), Pos()
    async with printer.listening() as local_url:
        channel = CompiledChannel("pos", "pos", server_url or local_url, None, (), pos=pos)
        adapter = PosAdapter(trial_host(channel, secret))
        result = await deliver_trial(adapter, channel.name, address, content)
    if not printer.receipts:
        return result
    lines = format_lines(paper_receipt(content, None), pos.width)
    return "\n".join([f"{result}, {len(printer.receipts[0])} bytes of ESC/POS:", *lines])
