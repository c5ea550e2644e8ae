"""Checks of URLs for posts.

No reason repeats a part of the URL, which may contain a secret.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final
from urllib.parse import SplitResult, urlsplit

import idna
from yarl import URL

_MAX_LENGTH: Final = 2_048
_PORTS: Final = range(1, 65_536)
_MAX_HOST_LENGTH: Final = 253
_UNPRINTABLE: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f\\]")
_BRACKETED_HOST: Final = re.compile(r"\[[^\[\]]*\](:[0-9]+)?")
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)

_NO_NAME: Final = (
    "no host can have this name: its parts have up to 63 letters, digits, - and _, "
    "and no - at either end"
)


def url_problem(url: str) -> str | None:
    """Return the problem of `url` as a target of posts, with the correction; None without
    one."""
    if len(url) > _MAX_LENGTH:
        return f"the URL is longer than {_MAX_LENGTH} characters"
    if _UNPRINTABLE.search(url):
        return "a URL has no spaces, control characters or backslashes: write them as %20 and so on"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an IPv6 address is written in brackets: http://[::1]:8080/path"
    return (
        _structure_problem(parts)
        or _port_problem(parts)
        or _host_problem(parts)
        or _client_problem(url)
    )


def _structure_problem(parts: SplitResult) -> str | None:
    if parts.scheme not in ("http", "https"):
        return "a URL begins with http:// or https://"
    if "@" in parts.netloc:
        return "a URL has no user and no password: sign posts with `secret` instead"
    if parts.fragment:
        return "a URL to post to has no fragment (#): leave it out"
    return None if parts.hostname else "the URL has no host: write https://HOST/PATH"


def _port_problem(parts: SplitResult) -> str | None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port is None and not parts.netloc.endswith(":"):
        return None
    return None if port in _PORTS else "a port is a number from 1 to 65535"


def _host_problem(parts: SplitResult) -> str | None:
    host = parts.hostname or ""
    if "[" in parts.netloc:
        if not _BRACKETED_HOST.fullmatch(parts.netloc):
            return "the host is not an IPv6 address: write http://[::1]:8080/path"
        return _address_problem(IPv6Address, host, has_zone="%" in host)
    if host.rpartition(".")[2].isdigit():
        return _address_problem(IPv4Address, host)
    try:
        name = host if host.isascii() else idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        return _NO_NAME
    labels = name.removesuffix(".").split(".")
    if len(name) > _MAX_HOST_LENGTH or not all(map(_LABEL.fullmatch, labels)):
        return _NO_NAME
    return None


def _address_problem(
    kind: type[IPv4Address] | type[IPv6Address], host: str, *, has_zone: bool = False
) -> str | None:
    try:
        kind(host)
    except AddressValueError:
        return "the host is not an IP address, and no host has a number for its last name"
    return "leave out the zone (%) of the address" if has_zone else None


def _client_problem(url: str) -> str | None:
    """Return the problem that the HTTP client's own parser finds in the URL."""
    try:
        parsed_url = URL(url)
        is_usable = parsed_url.raw_host and parsed_url.port in _PORTS
    except ValueError:
        is_usable = False
    return (
        None if is_usable else "HTTP clients refuse this URL: look for invisible characters in it"
    )
