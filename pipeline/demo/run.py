"""The whole demo: a stack, the log, a little live traffic, and what came of it."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.avro import open_codec
from pipeline.adapters.broker.ports import is_free
from pipeline.adapters.lag import LagReader
from pipeline.adapters.log_clock import LogClock
from pipeline.adapters.records import Records
from pipeline.config.compile import Configuration
from pipeline.demo import dataset, home, script
from pipeline.demo.live import Latency, Traffic
from pipeline.demo.mailbox import Mailbox, serve
from pipeline.demo.player import Pipeline, Player
from pipeline.demo.shop import Shop
from pipeline.demo.summary import Summary, summarise
from pipeline.settings import Settings
from pipeline.stack.configuration import applied_configuration
from pipeline.stack.control import Say, up
from pipeline.stack.groups import all_groups, stage_groups

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "demo"

_MAILBOX_PORT = 8790
_MAILBOX_VARIABLE = "KAIROS_DEMO_WEBHOOK"
_PORTS_TRIED = 100

Progress = Callable[[str, int, int], None]
"""Told the day, how many events were sent so far, and how many there are."""


@dataclass(frozen=True, slots=True)
class Options:
    """`days`: only the first so many days of the log; None: all. `live_s`: how long live traffic
    is sent afterwards."""

    seed: int
    reset: bool
    workers: str
    days: int | None
    live_s: int


@dataclass(frozen=True, slots=True)
class Result:
    """`seconds`: how long the log took to play; `repeated_mails`: posted again with a known key."""

    url: str
    configuration: str
    events: int
    seconds: float
    repeated_mails: int
    defaulted: int
    summary: Summary
    latency: Latency


def run(settings: Settings, options: Options, say: Say, progress: Progress) -> Result:
    """Leaves the stack up. Raises what `home`, `dataset` and `stack.control` do."""
    home.claim(settings, options.reset, say)
    days = script.days(dataset.load(settings.cache_dir))[: options.days]
    port = _free_port()
    os.environ[_MAILBOX_VARIABLE] = f"http://127.0.0.1:{port}/email"
    stack = up(settings, CONFIGURATION, options.workers, say)
    configuration = applied_configuration(settings)
    assert configuration is not None
    stage = _Stage(settings, configuration, stack.url, options)
    return asyncio.run(stage.perform(days, port, progress))


@dataclass(frozen=True, slots=True)
class _Stage:
    settings: Settings
    configuration: Configuration
    url: str
    options: Options

    async def perform(self, days: list[script.Day], port: int, progress: Progress) -> Result:
        mailbox = Mailbox()
        kafka = self.settings.kafka()
        pipeline = Pipeline(
            LagReader(kafka, stage_groups()),
            LagReader(kafka, all_groups(self.configuration)),
            mailbox,
        )
        async with serve(mailbox, port), Shop(self.url, self._key("web-shop")) as shop:
            began = time.monotonic()
            clock = LogClock(kafka, open_codec(self.settings), self.settings.partitions)
            player = Player(shop, mailbox, pipeline, clock, self.options.seed)
            await player.play(days, _counting(days, progress))
            seconds = time.monotonic() - began
            since_ms = time.time_ns() // 1_000_000
            traffic = Traffic(self.url, self._key("live"))
            await traffic.run(self.options.live_s)
            await pipeline.rest()
        records = Records.of(self.settings)
        channels = tuple(self.configuration.channels)
        return Result(
            url=self.url,
            configuration=self.configuration.digest,
            events=script.event_count(days),
            seconds=seconds,
            repeated_mails=mailbox.repeated,
            defaulted=shop.defaulted,
            summary=summarise(records, channels, script.event_ids(days)),
            latency=traffic.measured(records, since_ms, channels),
        )

    def _key(self, source: str) -> str:
        sources = self.configuration.sources.items()
        return next(key for key, one in sources if one.name == source)


def _counting(days: list[script.Day], progress: Progress) -> Callable[[script.Day, int], None]:
    total, sent = script.event_count(days), 0

    def count(day: script.Day, events: int) -> None:
        nonlocal sent
        sent += events
        progress(day.date.isoformat(), sent, total)

    return count


def _free_port() -> int:
    for port in range(_MAILBOX_PORT, _MAILBOX_PORT + _PORTS_TRIED):
        if is_free(port):
            return port
    raise OSError(f"no port free from {_MAILBOX_PORT} for the demo's mailbox")
