"""Anomalies are found where they were planted and seldom elsewhere; forecasts are compared with the
actual values."""

import csv
import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from typer.testing import CliRunner

from pipeline.cli.insights_anomalies import find_overview
from pipeline.cli.main import build_app
from pipeline.insights.anomalies import Anomaly, scan
from pipeline.insights.baseline import fit
from pipeline.insights.daily import DailySeries, daily_series
from pipeline.insights.engines import open_duckdb
from pipeline.insights.events import EventOptions, read_events
from pipeline.insights.forecast import HORIZON, forecast
from pipeline.insights.incident_words import incident_words
from pipeline.insights.incidents import SeriesOverview, series_overview
from pipeline.insights.tables import Engine
from pipeline.insights.topic_events import load_topic_events
from pipeline.insights.topic_files import SEGMENTED
from tests.support.cases import cases
from tests.support.replayed import as_segmented, event, write_topic

_MONDAY = 19_723  # 2024-01-01
_DAY_MS = 86_400_000
_DAYS = 150
_WEEKDAYS = np.array([1.2, 1.1, 1.0, 1.0, 1.1, 0.8, 0.6])


def _overview_of(
    rows: list[tuple[str, int, str, str]], goal: str | None = None
) -> SeriesOverview | None:
    with TemporaryDirectory() as folder, open_duckdb(Engine()) as connection:
        file = Path(folder) / "events.csv"
        with file.open("w", newline="") as table:
            writer = csv.writer(table)
            writer.writerow(["case_id", "occurred_at", "name", "channel"])
            writer.writerows(rows)
        return find_overview(read_events(connection, file, EventOptions()), goal, 0)


def _draw_quiet_series(random: np.random.Generator, number: int) -> DailySeries:
    """Draw counts with growth and weekdays, or a share with neither."""
    day = np.arange(_DAYS)
    mean = (3 + number) * np.exp(day / 200) * _WEEKDAYS[day % 7]
    counts = random.poisson(mean).astype(float)
    if number % 2:
        return DailySeries("volume", f"step {number}", None, "web", _MONDAY, counts)
    hits = random.binomial(counts.astype(int), 0.4).astype(float)
    return DailySeries("goes on", f"step {number}", "next", "web", _MONDAY, hits, counts)


def test_quiet_series_seldom_raise_a_false_alarm() -> None:
    world_count, false_alarm_count = 40, 0
    for seed in range(world_count):
        random = np.random.default_rng(seed)
        scans = scan([_draw_quiet_series(random, number) for number in range(12)], seed)
        false_alarm_count += any(record.anomalies for record in scans)
    assert false_alarm_count <= binom.ppf(0.999, world_count, 0.05)


def _plant_anomaly(kind: str, seed: int) -> tuple[DailySeries, list[DailySeries]]:
    """Return a series with a planted anomaly of this kind, and series without one."""
    random = np.random.default_rng(seed)
    other_series = [_draw_quiet_series(random, number) for number in range(12)]
    planted_series = _draw_quiet_series(random, 12 if kind == "goes on" else 13)
    counts, trials = planted_series.counts.copy(), planted_series.trials
    if trials is None:
        counts[90:100] = random.poisson(counts[90:100].mean() * 2.0, 10)
    else:
        counts[60:81] = random.binomial(trials[60:81].astype(int), 0.15)
    return DailySeries(
        planted_series.kind, "hit", planted_series.next_step, "web", _MONDAY, counts, trials
    ), other_series


@pytest.mark.parametrize(
    ("kind", "first_day", "last_day", "direction"),
    [("goes on", 60, 80, "fewer"), ("volume", 90, 99, "more")],
)
def test_planted_anomaly_is_found_with_its_days(
    kind: str, first_day: int, last_day: int, direction: str
) -> None:
    hit_count, false_alarm_count = 0, 0
    for seed in range(10):
        planted_series, other_series = _plant_anomaly(kind, seed)
        anomalies = {
            record.series.step: record.anomalies
            for record in scan([planted_series, *other_series], seed)
        }
        hit_count += any(
            _is_near(anomaly, first_day, last_day, direction) for anomaly in anomalies.pop("hit")
        )
        false_alarm_count += sum(map(len, anomalies.values()))
    assert hit_count >= 9
    assert false_alarm_count <= 4


def _is_near(anomaly: Anomaly, first_day: int, last_day: int, direction: str) -> bool:
    return (
        anomaly.direction == direction
        and abs(anomaly.first - first_day) <= 3
        and abs(anomaly.last - last_day) <= 3
    )


def test_baseline_fits_the_weekdays() -> None:
    random = np.random.default_rng(1)
    series = _draw_quiet_series(random, 31)
    weekdays = fit(series, np.ones(_DAYS, dtype=np.bool_)).weekdays
    assert weekdays == pytest.approx(tuple(_WEEKDAYS / np.exp(np.log(_WEEKDAYS).mean())), rel=0.15)


_VISIT_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob"]),
        st.integers(0, 3 * 24 * 6),
        st.sampled_from(["home", "cart", "buy"]),
        st.sampled_from(["web", "app"]),
    ),
    min_size=1,
    max_size=25,
)


@given(_VISIT_ROWS)
@settings(max_examples=cases(25), deadline=None)
def test_series_equal_a_plain_count(rows: list[tuple[str, int, str, str]]) -> None:
    # Times are in steps of ten minutes; an event on the fifth day ends the table.
    events = sorted(
        (case, _MONDAY * _DAY_MS + at * 600_000, name, channel) for case, at, name, channel in rows
    )
    end = ("end", (_MONDAY + 4) * _DAY_MS, "home", "web")
    with TemporaryDirectory() as folder, open_duckdb(Engine()) as connection:
        file = Path(folder) / "events.csv"
        lines = [",".join(map(str, row)) for row in (*events, end)]
        file.write_text("case_id,occurred_at,name,channel\n" + "\n".join(lines) + "\n")
        series = daily_series(read_events(connection, file, EventOptions()), "buy")
    volume = Counter((name, channel) for _, _, name, channel in events)
    assert {
        (daily.step, daily.channel): daily.counts.sum()
        for daily in series
        if daily.kind == "volume" and daily.channel and daily.counts.sum()
    } == volume
    visits: dict[int, set[tuple[str, str, int]]] = {}
    last_times: dict[str, int] = {}
    number = 0
    for case, at, name, channel in events:
        if case not in last_times or at - last_times[case] > 1_800_000:
            number += 1
        last_times[case] = at
        visits.setdefault(number, set()).add((name, channel, at // _DAY_MS))
    for daily in series:
        if daily.kind != "goes on" or daily.next_step != "buy" or daily.channel is None:
            continue
        visit_days = [
            (visit, day)
            for visit in visits.values()
            for step, channel, day in visit
            if (step, channel) == (daily.step, daily.channel)
        ]
        assert daily.trials is not None
        assert daily.trials.sum() == len(visit_days)
        assert daily.counts.sum() == sum(
            any(step == "buy" for step, _, _ in visit) for visit, _ in visit_days
        )


def test_interval_of_an_incidents_loss_covers_the_goals_prevented() -> None:
    random = np.random.default_rng(3)
    day = np.arange(_DAYS)
    trials = random.poisson(40, _DAYS).astype(float)
    share = np.where((day >= 100) & (day < 115), 0.2, 0.5)
    hits = random.binomial(trials.astype(int), share).astype(float)
    series = [DailySeries("goes on", "pay", "buy", "web", _MONDAY, hits, trials)]
    overview = series_overview(series, scan(series, 0), "buy")
    assert overview is not None
    (incident,) = overview.incidents
    assert incident.loss is not None
    assert incident.loss.low <= 0.3 * trials[100:115].sum() <= incident.loss.high
    words = incident_words(incident, "buy", 10.0)
    assert words.startswith("From 2024-04-10 to 2024-04-24 fewer visits than usual went from pay")
    spanish_words = incident_words(incident, "buy", 10.0, "es")
    assert spanish_words.startswith("Del 2024-04-10 al 2024-04-24 menos visitas")


def test_forecast_beats_the_seasonal_naive_one_and_covers_the_future() -> None:
    win_count, covered_parts, world_count = 0, [], 12
    for seed in range(world_count):
        random = np.random.default_rng(seed)
        day = np.arange(200 + HORIZON)
        counts = random.poisson(20 * _WEEKDAYS[day % 7]).astype(float)
        prediction = forecast(counts[:200], _MONDAY)
        assert prediction is not None
        win_count += prediction.back_test.error < prediction.back_test.naive_error
        is_covered = [
            day.low <= actual <= day.high
            for day, actual in zip(prediction.days, counts[200:], strict=True)
        ]
        covered_parts.append(np.mean(is_covered))
        assert prediction.days[0].day == _MONDAY + 200
        assert prediction.total == pytest.approx(sum(day.expected for day in prediction.days))
    assert win_count == world_count
    assert 0.8 <= np.mean(covered_parts) <= 1.0


def test_short_or_empty_series_have_no_forecast() -> None:
    assert forecast(np.ones(11 * 7 - 1), _MONDAY) is None
    assert forecast(np.ones(11 * 7), _MONDAY) is not None
    assert forecast(np.zeros(300), _MONDAY) is None


@pytest.mark.parametrize(
    "rows",
    [
        [("one", _MONDAY * _DAY_MS, "home", "web")],
        [("one", _MONDAY * _DAY_MS + day * _DAY_MS, "home", "web") for day in range(100)],
        [("one", _MONDAY * _DAY_MS, "home", f"channel {n}") for n in range(300)]
        + [("one", _MONDAY * _DAY_MS + 40 * _DAY_MS, "home", "web")],
    ],
    ids=["one event", "one customer", "many channels"],
)
def test_little_data_gives_no_anomaly_and_no_nan(rows: list[tuple[str, int, str, str]]) -> None:
    overview = _overview_of(rows, "buy")
    assert overview is None or overview.incidents == ()
    if overview is not None:
        assert all(np.isfinite(trend.level) for trend in overview.trends)


def test_topics_give_the_same_events_as_a_table(tmp_path: Path) -> None:
    at = _MONDAY * _DAY_MS
    records = [
        as_segmented("ann", event("1", "home", at, platform="mobile")),
        as_segmented("ann", event("1", "home", at, platform="mobile")),
        as_segmented("ann", event("2", "click", at, action_id="a")),
        as_segmented("bob", event("3", "home", at + 5)),
    ]
    write_topic(tmp_path, SEGMENTED, records)
    with open_duckdb(Engine()) as connection:
        log = load_topic_events(connection, tmp_path, "platform", None)
        rows = connection.connection.execute(
            "SELECT case_id, moment // 1000, name, channel FROM events ORDER BY line"
        ).fetchall()
    assert rows == [("ann", at, "home", "mobile"), ("bob", at + 5, "home", "web")]
    assert log.rows == 2


def test_command_names_invalid_cells_and_prints_json(tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    file.write_text("case_id,occurred_at,name,channel\na,2024-01-01 10:00,home,web\n")
    command = ["insights", "anomalies", "--events", str(file)]
    refusal = CliRunner().invoke(build_app("insights"), command)
    assert f"{file}:2: occurred_at" in str(refusal.exception)
    rows = "".join(f"a,{(_MONDAY + day) * _DAY_MS},home,web\n" for day in range(90))
    file.write_text("case_id,occurred_at,name,channel\n" + rows)
    result = CliRunner().invoke(build_app("insights"), [*command, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["incidents"] == []


@pytest.mark.parametrize("silent_days", [200, 900])
def test_baseline_of_a_series_that_ends_stays_near_zero(silent_days: int) -> None:
    random = np.random.default_rng(7)
    counts = np.concatenate((random.poisson(np.linspace(1, 30, 70)), np.zeros(silent_days)))
    series = DailySeries("volume", "step", None, "web", _MONDAY, counts.astype(float))
    expected = fit(series, np.ones(series.day_count, dtype=np.bool_)).expected
    assert expected.max() < 100
    assert expected[150:].max() < 0.5
    [record] = scan([series], 0)
    assert all(anomaly.expected < 3_000 for anomaly in record.anomalies)


def test_days_before_a_long_silence_are_left_out() -> None:
    start = _MONDAY * _DAY_MS
    rows = [
        (f"c{day}-{number}", start + day * _DAY_MS + number * 60_000, "visit", "web")
        for day in [*range(40), *range(97, 160)]
        for number in range(5)
    ]
    overview = _overview_of(rows)
    assert overview is not None
    assert (overview.first_day, overview.incidents) == (_MONDAY + 97, ())
    later_overview = _overview_of(
        [row for row in rows if (row[1] - start) // _DAY_MS not in (97, 98)]
    )
    assert later_overview is not None
    assert later_overview.first_day == _MONDAY + 99
    bridging_rows = [(f"c41-{number}", start + 41 * _DAY_MS, "visit", "web") for number in range(5)]
    bridged_overview = _overview_of([*rows, *bridging_rows])
    assert bridged_overview is not None
    assert bridged_overview.first_day == _MONDAY


def test_words_group_thousands_as_the_language_does() -> None:
    random = np.random.default_rng(1)
    counts = random.poisson(2_000, 120).astype(float)
    counts[60:70] = 20.0
    series = DailySeries("volume", "visit", None, "web", _MONDAY, counts)
    overview = series_overview((series,), scan([series], 0), None)
    assert overview is not None
    [incident] = overview.incidents
    assert "instead of about 20,0" in incident_words(incident, None, None, "en")
    assert "en vez de unos 20.0" in incident_words(incident, None, None, "es")
