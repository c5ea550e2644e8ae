"""Receipt of a request: its key, its body and its sender, alike for every endpoint that writes."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from starlette.requests import Request

from pipeline.config.compile import Configuration
from pipeline.config.keys import resolved
from pipeline.config.model import Source
from pipeline.gateway import access, body
from pipeline.gateway.gateway import Gateway, now_ms
from pipeline.intake.message_ids import MessageIds
from pipeline.intake.refusal import Refusal
from pipeline.intake.segment_api import Arrival
from pipeline.intake.trust import Speaker


class KeyedBody(Protocol):
    """Decoded body, which may hold the write key, as newer Segment clients send it."""

    @property
    def write_key(self) -> str | None: ...


B = TypeVar("B", bound=KeyedBody)


@dataclass(frozen=True, slots=True)
class Received(Generic[B]):
    """Request that has been read and decoded, and whose sender is known."""

    raw: bytes
    body: B
    arrival: Arrival
    ids: MessageIds
    gateway: Gateway

    def note_attempt(self, *, taken: bool) -> None:
        """Note whether Kafka acknowledged the body, in case it is sent again."""
        attempts, source = self.gateway.attempts, self.arrival.source.name
        if taken:
            attempts.forget(source, self.raw)
        else:
            attempts.remember(source, self.raw, self.ids)


@dataclass(frozen=True, slots=True)
class _Post:
    """Body that has been read, with the key from the header, if there was one."""

    raw: bytes
    key: str | None
    config: Configuration
    ip: str | None


async def receive(
    gateway: Gateway, request: Request, limit: int, parse: Callable[[bytes], B | Refusal]
) -> Received[B] | Refusal:
    """Read and decode a request and resolve its sender, or return why it is refused."""
    post = await _read(gateway, request, limit)
    if isinstance(post, Refusal):
        return post
    parsed = parse(post.raw)
    if isinstance(parsed, Refusal):
        return parsed
    source = access.find_source(post.key or parsed.write_key, post.config, gateway.adapter_key)
    if isinstance(source, Refusal):
        return source
    ids = gateway.attempts.ids(source.name, post.raw)
    speaker = _speaker(gateway, source, post.config)
    arrival = Arrival(source, post.config, now_ms(), post.ip, speaker, ids)
    return Received(post.raw, parsed, arrival, ids, gateway)


async def _read(gateway: Gateway, request: Request, limit: int) -> _Post | Refusal:
    """Read the body, after checking the key in the header.

    Without one the sender is unknown until the body, in which the key must be, has been read: it
    may then be no larger than one message.
    """
    config = gateway.configuration()
    if isinstance(config, Refusal):
        return config
    key = access.key_in_header(request)
    if isinstance(key, Refusal):
        return key
    if key is None:
        limit = min(limit, gateway.limits.message_bytes)
    elif isinstance(source := access.find_source(key, config, gateway.adapter_key), Refusal):
        return source
    raw = await body.read(request, limit)
    if isinstance(raw, Refusal):
        return raw
    return _Post(raw, key, config, request.client.host if request.client else None)


def _speaker(gateway: Gateway, source: Source, config: Configuration) -> Speaker | None:
    voice = config.voices.get(source.name)
    if voice is None:
        return None
    secret = None if voice.secret is None else resolved(voice.secret, os.environ)
    return Speaker(voice, secret, config, partial(gateway.metrics.count_unproven, source.name))
