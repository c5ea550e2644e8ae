"""The two incidents of the demonstration's log are found by their effects alone."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pipeline.cli.insights_anomalies import find_overview
from pipeline.demo import dataset
from pipeline.insights.engines import open_duckdb
from pipeline.insights.events import EventOptions, read_events
from pipeline.insights.incidents import SeriesEvidence
from pipeline.insights.tables import Engine

_TELLTALE_EVENTS = frozenset(("payment_error", "checkout_bug"))
_FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC).timestamp() // 86_400


def test_incidents_of_the_demo_are_found_without_their_names(tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    with file.open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["case_id", "occurred_at", "name", "channel"])
        for event in dataset.load(tmp_path):
            if event.name not in _TELLTALE_EVENTS:
                writer.writerow([event.user, event.at, event.name, event.platform])
    with open_duckdb(Engine()) as connection:
        overview = find_overview(read_events(connection, file, EventOptions()), "purchase", 0)
    assert overview is not None
    assert msgspec.json.encode(overview)
    evidence = [item for incident in overview.incidents for item in incident.evidence]
    checkout = [item for item in evidence if _is_mostly_within(item, 99, 130)]
    payment = [item for item in evidence if _is_mostly_within(item, 139, 159)]
    assert any(
        (item.channel, item.step, item.direction) == ("mobile", "shipping_details", "fewer")
        for item in checkout
    )
    assert any((item.step, item.to) == ("payment_details", "purchase") for item in payment)
    assert len(evidence) - len(checkout) - len(payment) <= 2
    assert all(incident.loss is not None for incident in overview.incidents[:2])


def _is_mostly_within(evidence: SeriesEvidence, first_day: int, last_day: int) -> bool:
    """Return whether more than half of the series' days are within the incident's."""
    start, end = evidence.first_day - _FIRST_DAY, evidence.last_day - _FIRST_DAY
    common = min(end, last_day) - max(start, first_day) + 1
    return common * 2 > end - start + 1
