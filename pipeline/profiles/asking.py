"""Asking the stages to take a link away, or to forget somebody, and what remains afterwards."""

import time

from msgspec import Struct

from pipeline.adapters.avro import open_codec
from pipeline.adapters.identities import IdentityWriter
from pipeline.adapters.lag import LagReader
from pipeline.adapters.topics import FOREVER, topics_for
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.time import HOUR_MS
from pipeline.settings import Settings
from pipeline.stack.groups import stage_groups

_PATIENCE_S = 30.0
_GENERATIONS = 6
"""A request goes up to the top and from there down, one generation at a time."""
_WITHOUT_PEOPLE = (topics.CONFIGURATION, topics.REPLIES)


class Remaining(Struct, frozen=True):
    """Records of the past that nothing reads back into a profile. `until` (epoch ms) is when the
    last of them expires; None: never."""

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
    """Where records from before `at` (ms) can still be found, by topic; state and snapshots lose
    them at once."""
    found = []
    for topic in topics_for(channels):
        if topic.name in _WITHOUT_PEOPLE or topic.retention_h is None:
            continue
        hours = settings.retention_hours.get(topic.name, topic.retention_h)
        found.append(Remaining(topic.name, None if hours == FOREVER else at + int(hours * HOUR_MS)))
    return sorted(found, key=lambda one: one.topic)
