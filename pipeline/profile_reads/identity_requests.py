"""Asking the stages to take a link away, or to forget somebody, and what remains afterwards."""

import time

from msgspec import Struct

from pipeline.adapters.avro import open_codec
from pipeline.adapters.cleaning import CLEANER_MS, longest_kept_ms
from pipeline.adapters.identities import IdentityWriter
from pipeline.adapters.lag import LagReader
from pipeline.adapters.topics import topics_for
from pipeline.flow import STAGES
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.time import DAY_MS, HOUR_MS
from pipeline.settings import Settings
from pipeline.stack.groups import stage_groups

_PATIENCE_S = 30.0
_GENERATIONS = 6
"""A request goes up to the top and from there down, one generation at a time."""
_LEDGERS_KEPT_MS = 14 * DAY_MS
_STATE = "(the workers' state on disk)"
_LEDGERS = "(the adapters' ledgers on disk)"
_BEYOND = (
    "(what adapters have sent: at their receivers)",
    "(what was exported, or sent as a file: where it was put)",
)


class Remaining(Struct, frozen=True):
    """A place with records of the past that nothing reads back into a profile: a topic, or
    what `topic` says in words. `until` (epoch ms) is when the last of them is gone; None: it stays
    until somebody deletes it."""

    topic: str
    until: int | None


def now_ms() -> int:
    """The clock of what is asked, epoch milliseconds."""
    return time.time_ns() // 1_000_000


def ask(settings: Settings, change: IdentityChange) -> bool:
    """Whether every stage has done it, a while after Kafka has it; otherwise they will do it when
    they run. KafkaException when Kafka does not take it."""
    IdentityWriter(settings.kafka(), open_codec(settings)).write([change])
    lag = LagReader(settings.kafka(), stage_groups())
    return all(lag.until_passed(_PATIENCE_S) for _ in range(_GENERATIONS))


def remaining(settings: Settings, channels: tuple[str, ...], at: int) -> list[Remaining]:
    """Where records from before `at` (ms) can still be found, and until when.

    For each topic as it is created by these settings. State and snapshots no longer tell what was
    forgotten, yet Kafka's and the workers' files have it until they are cleaned.
    """
    forgotten = at + round(settings.forget_hours * HOUR_MS) + CLEANER_MS
    found = [
        Remaining(name, forgotten)
        for name in (*(f"{one.group}-rows-changelog" for one in STAGES), _STATE)
    ]
    for topic in topics_for(channels):
        hours = topic.hours(settings)
        if topic.name in (topics.CONFIGURATION, topics.PROBES):
            continue
        kept_ms = None if hours is None else longest_kept_ms(hours)
        until = forgotten if hours is None else None if kept_ms is None else at + kept_ms
        found.append(Remaining(topic.name, until))
    found.append(Remaining(_LEDGERS, at + _LEDGERS_KEPT_MS))
    found.extend(Remaining(place, None) for place in _BEYOND)
    return sorted(found, key=lambda one: one.topic)
