"""The gateway's HTTP API in one process: real routes and codec, with a list in place of Kafka."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from pipeline.adapters.avro import Codec
from pipeline.adapters.avro.versions import recorded_versions
from pipeline.adapters.coupon_codes import CouponCodes
from pipeline.adapters.kafka import (
    OutgoingRecord,
    Publication,
    UnacknowledgedWrite,
    finished_publication,
)
from pipeline.adapters.signed_links import MessageLinks
from pipeline.config import model
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.gateway.app import create_app
from pipeline.gateway.coupon_book import CouponBook, CouponDesk
from pipeline.gateway.decide import DecideEndpoint
from pipeline.gateway.decision_admission import DecisionAdmission
from pipeline.gateway.gateway import Gateway, Limits
from pipeline.gateway.metrics import Metrics
from pipeline.gateway.profiles import ProfileEndpoints
from pipeline.gateway.readiness import GatewayReadiness
from pipeline.gateway.replies import PendingReplies
from pipeline.model import topics
from pipeline.model.interaction import Interaction
from pipeline.model.time import DAY_MS
from pipeline.profile_reads.view import View
from pipeline.rules.token import TokenKey
from pipeline.settings import Settings

ADAPTER_KEY = "what adapters report by"
MAX_MESSAGE_BYTES = 512 * 1024
MAX_BATCH_BYTES = 4 * 1024 * 1024
MAX_ITEMS = 5_000
TOKEN_MS = 7 * DAY_MS
SERVER_KEY = "office-key-1"

NAMESPACES = (
    model.Namespace("customer_id"),
    model.Namespace("email", "email"),
    model.Namespace("phone", "phone"),
    model.Namespace("device"),
    model.Namespace("cookie"),
)


@dataclass
class PublishedRecords:
    """List of published records, in place of Kafka. While `failure` is set, only the first
    `written_count` records of a call are published."""

    records: list[OutgoingRecord] = field(default_factory=list)
    failure: str | None = None
    written_count: int = 0
    on_publish: Callable[[Sequence[OutgoingRecord]], None] | None = None

    async def publish(self, records: Sequence[OutgoingRecord]) -> UnacknowledgedWrite | None:
        return self._append(records)

    def start(self, records: Sequence[OutgoingRecord], *, is_awaited: bool) -> Publication:
        assert not is_awaited
        return finished_publication(self._append(records))

    def _append(self, records: Sequence[OutgoingRecord]) -> UnacknowledgedWrite | None:
        if self.failure is not None:
            self.records += records[: self.written_count]
            return UnacknowledgedWrite(self.failure)
        self.records += records
        if self.on_publish is not None:
            self.on_publish(records)
        return None

    def topics(self) -> set[str]:
        return {record.topic for record in self.records}


@dataclass
class FixedConfigurations:
    """Source of configurations with a single one."""

    config: Configuration

    def configuration_in_force(self) -> Configuration:
        return self.config


@dataclass
class CurrentView:
    """View that is always up to date."""

    is_current: bool = True


@dataclass
class Doorway:
    """Gateway in this process; `app` is its ASGI app."""

    app: Starlette
    log: PublishedRecords
    codec: Codec
    pending_replies: PendingReplies
    tokens: TokenKey
    view: View
    coupons: CouponDesk

    def client(self, key: str | None = None) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://gateway",
            auth=None if key is None else httpx.BasicAuth(key, ""),
        )

    def request(
        self, method: str, url: str, key: str | None = None, **options: Any
    ) -> httpx.Response:
        """Send one request, with httpx's `options`, and return the answer."""

        async def send() -> httpx.Response:
            async with self.client(key) as client:
                return await client.request(method, url, **options)

        return asyncio.run(send())

    def interactions(self) -> list[Interaction]:
        """Return the written interactions, in order."""
        interactions: list[Interaction] = []
        for record in self.log.records:
            if record.topic == topics.INTERACTIONS:
                value = self.codec.decode(record.topic, record.value or b"")
                assert isinstance(value, Interaction), value
                interactions.append(value)
        return interactions


def configuration(*sources: model.Source, **parts: Any) -> Configuration:
    """Return a configuration with these sources, and a server key."""
    bundle = model.Bundle(
        sources=model.Sources(sources, (model.ServerKey("office", SERVER_KEY),)),
        identity=model.Identity(NAMESPACES, phone_region="ES"),
        channels=model.Channels(
            (model.Channel("web", placements=("hero",)), model.Channel("email"))
        ),
        **parts,
    )
    configuration = compile_bundle(bundle)
    assert isinstance(configuration, Configuration), configuration
    return configuration


def doorway(config: Configuration, folder: Path, decide_ms: int = 1) -> Doorway:
    """Return a gateway whose files are in `folder`; `decide_ms`: time budget of a decision."""
    log, codec, tokens = PublishedRecords(), Codec(recorded_versions()), TokenKey("test" * 8)
    settings = Settings(home=folder, secret="test" * 8)
    admission = DecisionAdmission(2, 0.1, time.monotonic)
    pending = PendingReplies(lambda _: None, admission.note_reply)
    gateway = Gateway(
        instance="gateway",
        limits=Limits(
            MAX_MESSAGE_BYTES, MAX_BATCH_BYTES, MAX_ITEMS, decide_ms=decide_ms, token_ms=TOKEN_MS
        ),
        configurations=FixedConfigurations(config),  # type: ignore[arg-type]
        publisher=log,  # type: ignore[arg-type]
        codec=codec,
        tokens=tokens,
        links=MessageLinks("test" * 8),
        adapter_key=ADAPTER_KEY,
        metrics=Metrics(),
    )
    view = View(folder / "view", codec)
    profiles = ProfileEndpoints(settings, view, CurrentView())  # type: ignore[arg-type]
    book = CouponBook({})
    desk = CouponDesk(CouponCodes("test" * 8), book)
    decide = DecideEndpoint(pending, admission)
    app = create_app(gateway, decide, GatewayReadiness(gateway, pending, 2), profiles, desk)
    return Doorway(app, log, codec, pending, tokens, view, desk)
