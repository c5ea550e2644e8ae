"""URLs of receipt printers in a network: `tcp://HOST:9100`."""

from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

_PORT: Final = 9100
_SCHEME: Final = "tcp"


class Printer(Struct, frozen=True):
    """Receipt printer."""

    host: str
    port: int


class BadPrinterUrl(Struct, frozen=True):
    """Reason why a URL names no printer, with the correction."""

    why: str


def parse_printer_url(url: str) -> Printer | BadPrinterUrl:
    """Return the printer that a URL names."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return BadPrinterUrl("a port is a number from 1 to 65535, an IPv6 address is in brackets")
    whole = parts.path in ("", "/") and not parts.query and not parts.fragment
    plain = "@" not in parts.netloc and all(one.isprintable() and one != " " for one in url)
    if parts.scheme != _SCHEME or not parts.hostname or not whole or not plain:
        return BadPrinterUrl("the URL of a receipt printer is tcp://HOST:9100")
    return Printer(parts.hostname, port or _PORT)
