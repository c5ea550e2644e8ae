"""URLs of a server without a path: `SCHEME://HOST:PORT`."""

from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

BAD_PORT: Final = "a port is a number from 1 to 65535, an IPv6 address is in brackets"


class ServerUrl(Struct, frozen=True):
    """Parts of a URL. `host` and `port`: None where they are missing; `host` is also None where the
    URL has spaces or unprintable characters. `has_user`: it has a user or a password; `has_more`:
    it has a path, a query or a fragment."""

    scheme: str
    host: str | None
    port: int | None
    has_user: bool
    has_more: bool


def split_server_url(url: str) -> ServerUrl | None:
    """Return the parts of a URL; None where its port or its brackets are wrong (`BAD_PORT`)."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    return ServerUrl(
        parts.scheme,
        parts.hostname
        if all(character.isprintable() and character != " " for character in url)
        else None,
        port,
        has_user="@" in parts.netloc,
        has_more=parts.path not in ("", "/") or bool(parts.query or parts.fragment),
    )
