"""Shared parts of all endpoints: configuration in force, reading of requests, writing to Kafka."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from starlette.requests import Request

from pipeline.adapters import traces
from pipeline.adapters.avro import Codec
from pipeline.adapters.config_log import ConfigurationLog
from pipeline.adapters.kafka import Outgoing, Publisher, Unavailable
from pipeline.adapters.traces import Trace
from pipeline.config.compile import Configuration
from pipeline.config.keys import resolved
from pipeline.config.model import Source
from pipeline.config.voices import Voice
from pipeline.decisioning.token import TokenKey
from pipeline.gateway import access, body
from pipeline.gateway.attempts import Attempts
from pipeline.gateway.metrics import Metrics
from pipeline.intake.refusal import Refusal, unavailable
from pipeline.intake.segment_api import Arrival
from pipeline.intake.trust import Speaker
from pipeline.model import topics
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.interaction import Interaction


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on bytes of an unpacked body, items of a request, and milliseconds.

    `decide_ms` is the time budget of a decision, `token_ms` the maximum age of a token.
    """

    message_bytes: int
    batch_bytes: int
    items: int
    decide_ms: int
    token_ms: int
    log_decide_ms: int = 30_000
    """Time budget of a decision for a source that plays a log, where nobody waits."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Parts that all endpoints share.

    `instance` is the key of this process's replies; `adapter_key` is the write key of Kairos's own
    adapters.
    """

    instance: str
    limits: Limits
    configurations: ConfigurationLog
    publisher: Publisher
    codec: Codec
    tokens: TokenKey
    adapter_key: str
    metrics: Metrics
    attempts: Attempts = field(default_factory=Attempts)

    def configuration(self) -> Configuration | Refusal:
        """Return the configuration in force."""
        latest = self.configurations.latest()
        return latest or unavailable("no configuration yet; run `kairos config apply DIR`")

    async def read(self, request: Request, limit: int) -> "Post | Refusal":
        """Read the body, after checking the key in the header.

        Without one the sender is unknown until the body, in which the key must be, has been read:
        it may then be no larger than one message.
        """
        config = self.configuration()
        if isinstance(config, Refusal):
            return config
        key = access.key_in_header(request)
        if isinstance(key, Refusal):
            return key
        if key is not None:
            source = access.find_source(key, config, self.adapter_key)
            if isinstance(source, Refusal):
                return source
        else:
            limit = min(limit, self.limits.message_bytes)
        raw = await body.read(request, limit)
        if isinstance(raw, Refusal):
            return raw
        ip = request.client.host if request.client else None
        return Post(raw, key, config, self, ip)

    async def write(
        self,
        interactions: Sequence[tuple[Interaction, Trace]],
        dead: Sequence[DeadLetterRecord] = (),
    ) -> Unavailable | None:
        """Write each interaction with its trace; return None once Kafka has acknowledged all."""
        records = [self._record(*one) for one in interactions]
        records += map(self._dead_letter, dead)
        failure = await self.publisher.publish(records)
        if failure is None:
            self.metrics.count_accepted([interaction for interaction, _ in interactions])
        else:
            self.metrics.count_unavailable()
        return failure

    def _record(self, interaction: Interaction, trace: Trace) -> Outgoing:
        return Outgoing(
            topics.INTERACTIONS,
            interaction.identifiers[0].key,
            self.codec.encode(topics.INTERACTIONS, interaction),
            ((traces.HEADER, trace.hop()),),
        )

    def _dead_letter(self, dead: DeadLetterRecord) -> Outgoing:
        value = self.codec.encode(topics.DEAD_LETTERS, dead)
        return Outgoing(topics.DEAD_LETTERS, self.instance, value)


@dataclass(frozen=True, slots=True)
class Post:
    """Body that has been read, with the key from the header, if there was one."""

    raw: bytes
    key: str | None
    config: Configuration
    gateway: Gateway
    ip: str | None

    def arrival(self, body_key: str | None) -> Arrival | Refusal:
        """Resolve the sender by the key in the header or, of newer Segment clients, in the body."""
        source = access.find_source(self.key or body_key, self.config, self.gateway.adapter_key)
        if isinstance(source, Refusal):
            return source
        voice = self.config.voices.get(source.name)
        speaker = None if voice is None else self._speaker(source, voice)
        ids = self.gateway.attempts.ids(source.name, self.raw)
        return Arrival(source, self.config, now_ms(), self.ip, speaker, ids)

    def note_attempt(self, arrival: Arrival, *, taken: bool) -> None:
        """Note whether Kafka acknowledged the body, in case it is sent again."""
        if taken:
            self.gateway.attempts.forget(arrival.source.name, self.raw)
        else:
            self.gateway.attempts.remember(arrival.source.name, self.raw, arrival.ids)

    def _speaker(self, source: Source, voice: Voice) -> Speaker:
        secret = None if voice.secret is None else resolved(voice.secret, os.environ)
        on_unproven = partial(self.gateway.metrics.count_unproven, source.name)
        return Speaker(voice, secret, self.config, on_unproven)


def now_ms() -> int:
    """Return the time of the gateway's clock, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def trace_of(request: Request) -> Trace:
    """Return the caller's trace, or a new one."""
    return traces.going_on(request.headers.get(traces.HEADER))
