"""Heartbeats write one record per partition and interval, also across restarts, and the steps of
cleaning fit into the time to forget."""

from agents.heartbeat import Heartbeat
from pipeline.adapters.cleaning import Cleaning, expiring_properties, max_retention_ms
from pipeline.flow import stage
from pipeline.model import topics
from pipeline.model.time import DAY_MS, HOUR_MS, MINUTE_MS
from tests.support.shells import InMemoryPorts


def test_changelog_and_snapshots_are_appended_to_once_per_interval() -> None:
    ports = InMemoryPorts()
    for now_ms in (5_000, 5_999, 6_000, 6_500, 7_100):
        Heartbeat(stage("enrichment"), ports, 1_000).beat(now_ms)
    assert [(record.topic, record.value) for record in ports.outputs] == [
        (topics.PROFILES, None)
    ] * 3
    assert list(ports.rows.values()) == [b"7100"]


def test_stage_without_snapshots_appends_to_its_changelog_alone() -> None:
    ports = InMemoryPorts()
    assert Heartbeat(stage("identity"), ports, 1_000).beat(5_000) == [0]
    assert (ports.outputs, list(ports.rows.values())) == ([], [b"5000"])


def test_steps_of_cleaning_fit_into_the_time_to_forget() -> None:
    # The total is the life of a row without state, twice the time to close and clean a segment, and
    # the age of the tombstone.
    for hours in (24.0, 1.0, 0.01):
        cleaning = Cleaning(hours)
        closed_ms = cleaning.part_ms + cleaning.beat_ms
        total_ms = cleaning.empty_row_ms + 2 * closed_ms + cleaning.part_ms
        assert total_ms <= hours * HOUR_MS
        assert set(cleaning.compacted_properties()) >= {"max.compaction.lag.ms", "segment.ms"}


def test_expiring_topic_closes_its_segments_often() -> None:
    assert expiring_properties(1.0)["segment.ms"] == str(6 * MINUTE_MS)
    assert expiring_properties(2400.0)["segment.ms"] == str(7 * DAY_MS)
    assert max_retention_ms(1.0) == 76 * MINUTE_MS
    assert max_retention_ms(-1.0) is None
