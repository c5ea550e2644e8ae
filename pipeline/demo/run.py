"""Complete demo: a stack, the log, a little live traffic, and a summary."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.broker.ports import is_free
from pipeline.adapters.clock import now_ms
from pipeline.adapters.config_files import read_write_keys
from pipeline.adapters.consumer_groups import all_groups, stage_groups
from pipeline.adapters.lag import LagReader
from pipeline.adapters.log_clock import LogClock
from pipeline.adapters.mailbox import Mailbox, serve
from pipeline.config.compile import Configuration
from pipeline.demo import dataset, home, script
from pipeline.demo.live import Latency, Traffic
from pipeline.demo.narrator import Narrator, PlayedRound
from pipeline.demo.player import Pipeline, Player
from pipeline.demo.shop import Shop
from pipeline.demo.summary import Summary, summarise
from pipeline.home.applied_configuration import applied_configuration
from pipeline.home.codec import open_codec
from pipeline.home.records import Records
from pipeline.settings import Settings
from pipeline.stack.control import Say, start_stack

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "demo"
PLAN = Path(__file__).with_name("purchase.yaml")
"""Journey that the report compares with the customers' paths."""

_MAILBOX_PORT = 8790
_MAILBOX_VARIABLE = "KAIROS_DEMO_WEBHOOK"
_PORT_COUNT = 100


@dataclass(frozen=True, slots=True)
class PlayProgress:
    """Progress of the play: `event_count` of `total_count` events were sent, up to `day`; `lines`:
    text to show now."""

    day: str
    event_count: int
    total_count: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the demo.

    `days`: most days of the log to play, None: all. `play_s`: seconds after which no further day
    begins, None: no limit. `live_s`: seconds of live traffic afterwards.
    """

    seed: int
    reset: bool
    workers: str
    days: int | None
    play_s: float | None
    live_s: int


@dataclass(frozen=True, slots=True)
class Result:
    """Result of the demo.

    `days` of `of_days` of the log were played, up to and including `until` (ISO date), with
    `events` in `seconds`. `repeated_mails`: e-mails posted again with the same key.
    """

    url: str
    configuration: str
    days: int
    of_days: int
    until: str
    events: int
    seconds: float
    repeated_mails: int
    defaulted: int
    summary: Summary
    latency: Latency


def run(
    settings: Settings, options: Options, say: Say, progress: Callable[[PlayProgress], None]
) -> Result:
    """Run the demo, and leave the stack up.

    Raises HomeInUseError, NoDatasetError, NotIdleError, the errors of `stack.control`, and OSError
    if the mailbox finds no free port.
    """
    home.claim(settings, options.reset, say)
    days = script.days(dataset.load(settings.cache_dir))
    port = _free_port()
    os.environ[_MAILBOX_VARIABLE] = f"http://127.0.0.1:{port}/email"
    stack = start_stack(settings, CONFIGURATION, options.workers, say)
    configuration = applied_configuration(settings)
    assert configuration is not None
    keys = read_write_keys(CONFIGURATION)
    demo = _DemoRun(settings, configuration, keys, stack.url, options)
    return asyncio.run(demo.play(days, port, progress))


@dataclass(frozen=True, slots=True)
class _DemoRun:
    """Run of the demo on a stack that is up."""

    settings: Settings
    configuration: Configuration
    keys: Mapping[str, str]
    url: str
    options: Options

    async def play(
        self, days: list[script.Day], port: int, progress: Callable[[PlayProgress], None]
    ) -> Result:
        mailbox = Mailbox()
        kafka = self.settings.kafka()
        pipeline = Pipeline(
            LagReader(kafka, stage_groups()),
            LagReader(kafka, all_groups(self.configuration)),
            mailbox,
        )
        async with serve(mailbox, port), Shop(self.url, self.keys["web-shop"]) as shop:
            started_s = time.monotonic()
            clock = LogClock(kafka, open_codec(self.settings), self.settings.partitions)
            player = Player(shop, mailbox, pipeline, clock, self.options.seed)
            days_to_play = days[: self.options.days]
            days_in_time = _limit_time(days_to_play, self.options.play_s)
            played_days = await player.play(
                days_in_time, _narrator_of(script.event_count(days_to_play), progress)
            )
            seconds = time.monotonic() - started_s
            progress(self._final_progress(played_days, len(days)))
            since_ms = now_ms()
            traffic = Traffic(self.url, self.keys["live"])
            await traffic.run(self.options.live_s)
            await pipeline.wait_until_idle()
        records = Records.of(self.settings)
        channels = tuple(self.configuration.channels)
        return Result(
            url=self.url,
            configuration=self.configuration.digest,
            days=len(played_days),
            of_days=len(days),
            until=played_days[-1].date.isoformat(),
            events=script.event_count(played_days),
            seconds=seconds,
            repeated_mails=mailbox.repeat_count,
            defaulted=shop.default_count,
            summary=summarise(records, channels, script.event_ids(played_days)),
            latency=traffic.measure(records, since_ms, channels),
        )

    def _final_progress(self, played_days: list[script.Day], day_count: int) -> PlayProgress:
        line = (
            f"played {len(played_days)} of {day_count} days; "
            f"live traffic for {self.options.live_s} s"
        )
        event_count = script.event_count(played_days)
        return PlayProgress(played_days[-1].date.isoformat(), event_count, event_count, (line,))


def _limit_time(days: Iterable[script.Day], play_s: float | None) -> Iterator[script.Day]:
    """Yield days until `play_s` seconds after the start."""
    started_s = time.monotonic()
    for day in days:
        if play_s is not None and time.monotonic() - started_s > play_s:
            return
        yield day


def _narrator_of(
    total_count: int, progress: Callable[[PlayProgress], None]
) -> Callable[[PlayedRound], None]:
    """Return a function that narrates a round to `progress`."""
    narrator, started_s = Narrator(total_count), time.monotonic()

    def show(update: PlayedRound) -> None:
        lines = tuple(narrator.narrate(update, time.monotonic() - started_s))
        progress(
            PlayProgress(update.day.isoformat(), narrator.event_count, narrator.total_count, lines)
        )

    return show


def _free_port() -> int:
    for port in range(_MAILBOX_PORT, _MAILBOX_PORT + _PORT_COUNT):
        if is_free(port):
            return port
    last_port = _MAILBOX_PORT + _PORT_COUNT - 1
    raise OSError(f"the demo's mailbox needs a free port from {_MAILBOX_PORT} to {last_port}")
