"""Intake of a request: its key, body and sender, the same for every writing endpoint."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from starlette.requests import Request

from pipeline.adapters.clock import now_ms
from pipeline.config.compile import Configuration
from pipeline.config.keys import expand_variables
from pipeline.config.model import Source
from pipeline.gateway import access, body
from pipeline.gateway.cors import check_origin
from pipeline.gateway.gateway import Gateway
from pipeline.intake.message_ids import MessageIds
from pipeline.intake.refusal import Refusal
from pipeline.intake.segment_api import Arrival
from pipeline.intake.trust import Speaker


class KeyedBody(Protocol):
    """Decoded body, which contains the write key of newer Segment clients."""

    @property
    def write_key(self) -> str | None: ...


B = TypeVar("B", bound=KeyedBody)


@dataclass(frozen=True, slots=True)
class ReceivedRequest(Generic[B]):
    """Decoded request with a known sender."""

    raw: bytes
    body: B
    arrival: Arrival
    ids: MessageIds
    gateway: Gateway

    def note_attempt(self, *, is_acknowledged: bool) -> None:
        """Note whether Kafka acknowledged the body, for its retry."""
        attempts, source = self.gateway.attempts, self.arrival.source.name
        if is_acknowledged:
            attempts.remove(source, self.raw)
        else:
            attempts.add(source, self.raw, self.ids)


@dataclass(frozen=True, slots=True)
class _ReadBody:
    """Body, with the source of the key in the header; `source` None: the header has no key."""

    raw: bytes
    source: Source | None
    config: Configuration


async def receive(
    gateway: Gateway, request: Request, limit: int, parse: Callable[[bytes], B | Refusal]
) -> ReceivedRequest[B] | Refusal:
    """Read and decode a request and resolve its sender, or return its refusal."""
    post = await _read(gateway, request, limit)
    if isinstance(post, Refusal):
        return post
    decoded_body = parse(post.raw)
    if isinstance(decoded_body, Refusal):
        return decoded_body
    source = post.source or _admit(gateway, request, decoded_body.write_key, post.config)
    if isinstance(source, Refusal):
        return source
    ids = gateway.attempts.ids(source.name, post.raw)
    arrival = Arrival(
        source,
        post.config,
        now_ms(),
        ip=_address(request),
        user_agent=request.headers.get("user-agent") if source.trust == "public" else None,
        speaker=_speaker(gateway, source, post.config),
        new_id=ids,
    )
    return ReceivedRequest(post.raw, decoded_body, arrival, ids, gateway)


async def _read(gateway: Gateway, request: Request, limit: int) -> _ReadBody | Refusal:
    """Read the body, after checking the key in the header.

    Without a key in the header, the sender is unknown until the body, which must contain the key,
    has been read: the body may then have the bytes of one message only.
    """
    config = gateway.configuration()
    if isinstance(config, Refusal):
        return config
    key = access.key_in_header(request)
    if isinstance(key, Refusal):
        return key
    source = _admit(gateway, request, key, config) if key else None
    if isinstance(source, Refusal):
        return source
    if source is None:
        limit = min(limit, gateway.limits.message_bytes)
    raw = await body.read(request, limit)
    if isinstance(raw, Refusal):
        return raw
    return _ReadBody(raw, source, config)


def _admit(
    gateway: Gateway, request: Request, key: str | None, config: Configuration
) -> Source | Refusal:
    """Return the source of the key, unless it may not send from this page or address."""
    source = access.find_source(key, config, gateway.adapter_key)
    if isinstance(source, Refusal):
        return source
    refusal = check_origin(request, source.name, config) or gateway.rates.check(
        source, _address(request)
    )
    return refusal or source


def _address(request: Request) -> str | None:
    return request.client.host if request.client else None


def _speaker(gateway: Gateway, source: Source, config: Configuration) -> Speaker | None:
    restriction = config.restrictions.get(source.name)
    if restriction is None:
        return None
    name = restriction.secret
    secret = None if name is None else expand_variables(name, os.environ)
    on_unproven = partial(gateway.metrics.count_unproven, source.name)
    return Speaker(restriction, secret, config, on_unproven)
