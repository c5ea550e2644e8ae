"""Requests to unlink or forget, and the records of the past that remain afterwards."""

from msgspec import Struct

from pipeline.adapters.cleaning import CLEANER_MS, max_retention_ms
from pipeline.adapters.consumer_groups import stage_groups
from pipeline.adapters.identities import IdentityWriter
from pipeline.adapters.lag import LagReader
from pipeline.flow import STAGES
from pipeline.home.codec import open_codec
from pipeline.home.topics import topics_for
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.time import DAY_MS, HOUR_MS
from pipeline.settings import Settings

_PATIENCE_S = 30.0
_GENERATIONS = 6
"""Most passes of a request through the stages, since it may go up the identity tree and down
again."""
_LEDGER_RETENTION_MS = 14 * DAY_MS
_STATE = "(the workers' state on disk)"
_LEDGERS = "(the adapters' ledgers on disk)"
_OUTSIDE_COPIES = (
    "(what adapters have sent: at their receivers)",
    "(what was exported, or sent as a file: where it was put)",
)


class PastRecords(Struct, frozen=True):
    """Place with older records that are never read back into a profile.

    `topic`: a topic, or a description in brackets. `until` (epoch ms): when the last record is
    deleted; None: the records stay until they are deleted by hand.
    """

    topic: str
    until: int | None


def request_and_wait(settings: Settings, change: IdentityChange) -> bool:
    """Write a request; return whether every stage has processed it in time.

    Otherwise the stages process it when they run. Raises KafkaException if it cannot be written.
    """
    IdentityWriter(settings.kafka(), open_codec(settings)).write([change])
    lag = LagReader(settings.kafka(), stage_groups())
    return all(lag.wait_until_passed(_PATIENCE_S) for _ in range(_GENERATIONS))


def remaining_records(settings: Settings, channels: tuple[str, ...], at: int) -> list[PastRecords]:
    """Return the places of records from before `at` (ms), with the end of their retention.

    Retention is that of topics created with these settings. State and snapshots no longer show
    forgotten data, but the files of Kafka and of the workers hold it until they are cleaned.
    """
    forgotten_at = at + round(settings.forget_hours * HOUR_MS) + CLEANER_MS
    places = [
        PastRecords(name, forgotten_at)
        for name in (*(f"{stage.group}-rows-changelog" for stage in STAGES), _STATE)
    ]
    for topic in topics_for(channels):
        hours = topic.hours(settings)
        if topic.name in (topics.CONFIGURATION, topics.PROBES):
            continue
        if hours is None:
            until: int | None = forgotten_at
        else:
            retention_ms = max_retention_ms(hours)
            until = None if retention_ms is None else at + retention_ms
        places.append(PastRecords(topic.name, until))
    places.append(PastRecords(_LEDGERS, at + _LEDGER_RETENTION_MS))
    places.extend(PastRecords(description, None) for description in _OUTSIDE_COPIES)
    return sorted(places, key=lambda place: place.topic)
