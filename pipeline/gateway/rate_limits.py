"""Limits on the requests that one address makes with one key."""

import time
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Final

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from pipeline.config.model import Source
from pipeline.intake.refusal import Refusal

_PUBLIC_LIMIT: Final = 6_000
"""Default limit of a source with a public key, in requests a minute; more than an office makes, or
the customers of a mobile operator, who share an address."""

_MAX_WAIT_S: Final = 60
_NETWORK_BITS: Final = 64
"""Number of network bits in an IPv6 address: a customer has all addresses of a network."""


class RateLimits:
    """Requests of the last minute, by source and address, in this process."""

    def __init__(self) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def check(self, source: Source, ip: str | None) -> Refusal | None:
        """Count a request; return the refusal of one above the limit; None: it is within the
        limit."""
        limit = source.requests_per_minute
        if limit is None:
            limit = _PUBLIC_LIMIT if source.trust == "public" else None
        if limit is None:
            return None
        rate_limit = RateLimitItemPerMinute(limit)
        client = (source.name, _network(ip or ""))
        if self._limiter.hit(rate_limit, *client):
            return None
        reset_s = self._limiter.get_window_stats(rate_limit, *client).reset_time
        wait_s = min(max(ceil(reset_s - time.time()), 1), _MAX_WAIT_S)
        message = f"{limit} requests a minute may come from one address with this key"
        return Refusal(429, "rate_limited", message, headers=(("Retry-After", str(wait_s)),))


def _network(ip: str) -> str:
    try:
        address = ip_address(ip)
    except ValueError:
        return ip
    if not isinstance(address, IPv6Address):
        return ip
    ipv4 = address.ipv4_mapped
    return str(ipv4 or int(address) >> _NETWORK_BITS)
