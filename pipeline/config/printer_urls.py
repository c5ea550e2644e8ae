"""URLs of receipt printers in a network: `tcp://HOST:9100`."""

from typing import Final

from msgspec import Struct

from pipeline.config.server_urls import BAD_PORT, split_server_url

_PORT: Final = 9100
_SCHEME: Final = "tcp"


class Printer(Struct, frozen=True):
    """Receipt printer."""

    host: str
    port: int


class PrinterUrlProblem(Struct, frozen=True):
    """Reason why a URL names no printer, with the correction."""

    reason: str


def parse_printer_url(url: str) -> Printer | PrinterUrlProblem:
    """Return the printer that a URL names."""
    parts = split_server_url(url)
    if parts is None:
        return PrinterUrlProblem(BAD_PORT)
    if parts.scheme != _SCHEME or not parts.host or parts.has_user or parts.has_more:
        return PrinterUrlProblem("the URL of a receipt printer is tcp://HOST:9100")
    return Printer(parts.host, parts.port or _PORT)
