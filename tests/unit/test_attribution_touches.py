"""Journeys of a table of touches equal those by the definition, row by row."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import pytest

from pipeline.insights.attribution import MODELS
from pipeline.insights.engines import DuckQueries, open_duckdb
from pipeline.insights.paths import NO_TOUCH, PathCounts
from pipeline.insights.questions import (
    AttributionAnswer,
    AttributionQuestion,
    BootstrapDraws,
    answer,
)
from pipeline.insights.resampling import Customers
from pipeline.insights.tables import Engine, TableError
from pipeline.insights.touches import Journeys, TouchOptions, read_touches
from tests.support.attribution import write_csv, write_parquet

DAY = 86_400_000
START = 1_704_067_200_000  # 2024-01-01
HEADER = "profile_id,occurred_at,channel,kind,value"

_Touch: TypeAlias = tuple[int, str]
"""Time and channel of a touch."""


def _touch(customer: str, day: float, channel: str) -> str:
    return f"{customer},{START + round(day * DAY)},{channel},touch,"


def _conversion(customer: str, day: float, value: float = 1.0) -> str:
    return f"{customer},{START + round(day * DAY)},,conversion,{value}"


def _end(day: float) -> str:
    """Return a conversion of another customer on this day, so that the table goes on until then."""
    return _conversion("last", day, 0.0)


def _paths(path_counts: PathCounts) -> dict[tuple[str, ...], tuple[float, float, float]]:
    paths = {}
    for index in range(len(path_counts.conversions)):
        codes = path_counts.codes[path_counts.offsets[index] : path_counts.offsets[index + 1]]
        counts = (
            path_counts.conversions[index],
            path_counts.values[index],
            path_counts.nulls[index],
        )
        paths[tuple(path_counts.channels[code] for code in codes)] = tuple(map(float, counts))
    return paths  # type: ignore[return-value]


def _journeys(
    connection: DuckQueries, folder: Path, lines: Sequence[str], **options: object
) -> Journeys:
    file = write_csv(folder / "touches.csv", [HEADER, *lines])
    return read_touches(connection, file, TouchOptions(**options))  # type: ignore[arg-type]


def _answer_from(question: AttributionQuestion, engine: Engine) -> AttributionAnswer:
    with open_duckdb(engine) as queries:
        return answer(question, queries)


@pytest.fixture
def connection() -> Iterator[DuckQueries]:
    with open_duckdb(Engine(threads=1)) as queries:
        yield queries


def test_conversion_ends_a_journey(connection: DuckQueries, tmp_path: Path) -> None:
    lines = [
        _touch("p", 1, "mail"),
        _touch("p", 2, "web"),
        _conversion("p", 3, 10.0),
        _touch("p", 4, "sms"),
        _conversion("p", 5, 20.0),
        _conversion("p", 6, 40.0),
    ]
    paths = _paths(_journeys(connection, tmp_path, lines).path_counts())
    assert paths == {("mail", "web"): (1, 10, 0), ("sms",): (1, 20, 0), (): (1, 40, 0)}


def test_lookback_is_open_at_its_beginning(connection: DuckQueries, tmp_path: Path) -> None:
    lines = [
        _touch("p", 0, "at the edge"),
        _touch("p", 0.001, "within"),
        _conversion("p", 30, 5.0),
    ]
    paths = _paths(_journeys(connection, tmp_path, lines).path_counts())
    assert paths == {("at the edge",): (0, 0, 1), ("within",): (1, 5, 0)}


def test_journeys_without_conversion_are_split_by_a_lookback_and_censored(
    connection: DuckQueries, tmp_path: Path
) -> None:
    lines = [
        _touch("p", 0, "a"),
        _touch("p", 29, "b"),
        _touch("p", 59, "c"),
        _touch("late", 60, "d"),
        _touch("late", 71, "e"),
        _end(100),
    ]
    journeys = _journeys(connection, tmp_path, lines)
    paths = _paths(journeys.path_counts())
    assert paths == {("a", "b"): (0, 0, 1), ("c",): (0, 0, 1), (): (1, 0, 0)}
    assert journeys.support().unfinished == 1


def test_order_of_rows_does_not_matter_and_equal_times_go_by_name(
    connection: DuckQueries, tmp_path: Path
) -> None:
    lines = [
        _conversion("p", 2, 7.0),
        _touch("p", 2, "z"),
        _touch("p", 1, "b"),
        _touch("p", 1, "a"),
        _conversion("p", 2, 1.0),
    ]
    for lines_in_order in (lines, lines[::-1]):
        paths = _paths(_journeys(connection, tmp_path, lines_in_order).path_counts())
        assert paths == {("a", "b", "z"): (2, 8, 0)}


def test_session_counts_a_repeated_channel_once(connection: DuckQueries, tmp_path: Path) -> None:
    minute = 1 / 1440
    lines = [
        *(_touch("p", at * minute, "web") for at in (0, 20, 40)),
        _touch("p", 45 * minute, "mail"),
        _touch("p", 50 * minute, "web"),
        _touch("p", 81 * minute, "web"),
        _conversion("p", 1),
    ]
    paths = _paths(_journeys(connection, tmp_path, lines, session_ms=30 * 60_000).path_counts())
    assert set(paths) == {("web", "mail", "web", "web")}


def test_conversions_that_look_back_beyond_the_table_are_left_out(
    connection: DuckQueries, tmp_path: Path
) -> None:
    lines = [_touch("p", 1, "a"), _conversion("p", 5), _touch("p", 39, "b"), _conversion("p", 40)]
    journeys = _journeys(connection, tmp_path, lines, since_ms=START)
    assert _paths(journeys.path_counts()) == {("b",): (1, 1, 0)}
    assert journeys.support().unseen == 1


def test_touches_after_until_are_left_out(connection: DuckQueries, tmp_path: Path) -> None:
    lines = [_touch("p", 1, "a"), _touch("q", 1, "b"), _conversion("p", 50)]
    journeys = _journeys(connection, tmp_path, lines, until_ms=START + 40 * DAY)
    assert _paths(journeys.path_counts()) == {("a",): (0, 0, 1), ("b",): (0, 0, 1)}


def test_channel_may_contain_the_separator(tmp_path: Path) -> None:
    lines = [HEADER, _touch("p", 1, "a > b"), _touch("p", 2, '"x, ""y"""'), _conversion("p", 3)]
    answer = _answer(write_csv(tmp_path / "t.csv", lines), "linear")
    assert {channel.channel: channel.conversions for channel in answer.attribution.channels} == {
        "a > b": 0.5,
        'x, "y"': 0.5,
    }


def _answer(file: Path, model: str = "markov", **options: object) -> AttributionAnswer:
    question = AttributionQuestion(
        file,
        has_paths=False,
        model=model,
        touches=TouchOptions(**options),
        draws=BootstrapDraws(40),  # type: ignore[arg-type]
    )
    return _answer_from(question, Engine(threads=1))


def test_unit_kinds_of_touches_and_repeated_ids_follow_the_options(tmp_path: Path) -> None:
    rows = [
        ("p", 1, "mail", "spring", "sent", "e1"),
        ("p", 2, "mail", None, "clicked", "e2"),
        ("p", 2, "mail", None, "clicked", "e2"),
        ("q", 2, "web", "spring", "clicked", "e3"),
    ]
    touch_rows = [
        {
            "profile_id": customer,
            "occurred_at": START + day * DAY,
            "channel": channel,
            "kind": "touch",
            "value": 0.0,
            "campaign": campaign,
            "touch": touch,
            "event_id": event,
        }
        for customer, day, channel, campaign, touch, event in rows
    ]
    conversion = {
        **touch_rows[0],
        "kind": "conversion",
        "value": 9.0,
        "occurred_at": START + 3 * DAY,
    }
    conversions = [{**conversion, "event_id": "e4"}, {**conversion, "event_id": "e4"}]
    file = write_parquet(tmp_path / "touches.parquet", [*touch_rows, *conversions])
    answer = _answer(file, "linear", unit="campaign", touch="clicked")
    assert [(channel.channel, channel.conversions) for channel in answer.attribution.channels] == [
        ("(no campaign)", 1.0),
        ("spring", 0.0),
    ]
    assert answer.attribution.value == 9.0
    assert answer.support is not None
    assert answer.support.touches == {"clicked": 2, "sent": 1}
    assert answer.support.repeated == 2


def test_credit_decays_by_half_lives(tmp_path: Path) -> None:
    # Touches 1 and 3 half-lives before: ½ to ⅛, so four fifths and one fifth.
    lines = [_touch("p", 7, "a"), _touch("p", 21, "b"), _conversion("p", 28, 100.0)]
    answer = _answer(write_csv(tmp_path / "t.csv", [HEADER, *lines]), "time-decay")
    values = {channel.channel: channel.value for channel in answer.attribution.channels}
    assert values == pytest.approx({"a": 20.0, "b": 80.0})


def test_credit_adds_up_after_any_number_of_half_lives(tmp_path: Path) -> None:
    lines = [_touch("p", 1, "a"), _touch("p", 2, "b"), _conversion("p", 28, 100.0)]
    question = AttributionQuestion(
        write_csv(tmp_path / "t.csv", [HEADER, *lines]),
        has_paths=False,
        model="time-decay",
        half_life_ms=1_000,
    )
    attribution = _answer_from(question, Engine(threads=1)).attribution
    assert {channel.channel: channel.value for channel in attribution.channels} == {
        "a": 0.0,
        "b": 100.0,
    }


@pytest.mark.parametrize("zone", ["Europe/Madrid", "America/Lima"])
def test_times_are_read_in_every_form(tmp_path: Path, zone: str) -> None:
    zoned_times = ["2024-01-01T10:00:00+02:00", "2024-01-01 08:00:00Z", str(START + 8 * 3_600_000)]
    lines = [f"p,{text},c{index},touch,0" for index, text in enumerate(zoned_times)]
    file = write_csv(tmp_path / "t.csv", [HEADER, *lines, "p,2024-01-01T08:00:00Z,,conversion,1"])
    answer = _answer(file, "linear")
    assert [channel.conversions for channel in answer.attribution.channels] == pytest.approx(
        [1 / 3] * 3
    )
    local_times = write_csv(tmp_path / "l.csv", [HEADER, "p,2024-01-01 10:00:00,a,touch,0"])
    with pytest.raises(TableError, match=r"l\.csv:2: occurred_at: .* has no time zone"):
        _answer(local_times)
    naive_rows = [
        {"profile_id": "p", "occurred_at": datetime(2024, 1, 1), "channel": "a", "kind": "touch"}
    ]
    file = write_parquet(tmp_path / "n.parquet", naive_rows)
    with pytest.raises(TableError, match=r"row 1: occurred_at: .* has no time zone"):
        _answer(file)
    assert _answer(file, zone=zone).attribution.channels[0].channel == "a"


def test_typed_parquet_times_are_read(tmp_path: Path) -> None:
    rows = [
        {"profile_id": "p", "occurred_at": at, "channel": "a", "kind": kind}
        for at, kind in (
            (datetime(2024, 1, 1, tzinfo=UTC), "touch"),
            (datetime(2024, 1, 2, tzinfo=UTC), "conversion"),
        )
    ]
    answer = _answer(write_parquet(tmp_path / "t.parquet", rows), "last")
    assert (answer.attribution.conversions, answer.attribution.value) == (1.0, 0.0)


def _expected_paths(
    events: Sequence[tuple[str, int, str | None]], lookback: int
) -> Counter[tuple[tuple[str, ...], bool]]:
    """Return the number of journeys of each path, converting or not, by the definition."""
    expected: Counter[tuple[tuple[str, ...], bool]] = Counter()
    end = max(at for _, at, _ in events)
    for customer in {customer for customer, _, _ in events}:
        own_events = [(at, channel) for name, at, channel in events if name == customer]
        touches = sorted((at, channel) for at, channel in own_events if channel is not None)
        conversions = Counter(at for at, channel in own_events if channel is None)
        expired_touches, begin = [], -1
        for at, count in sorted(conversions.items()):
            journey = [touch for touch in touches if begin < touch[0] <= at]
            credited_touches = [touch for touch in journey if at - touch[0] < lookback]
            expected[_channels(credited_touches), True] += count
            expired_touches.append(journey[: len(journey) - len(credited_touches)])
            begin = at
        expired_touches.append([touch for touch in touches if touch[0] > begin])
        for run in chain.from_iterable(_runs(group, lookback) for group in expired_touches):
            if end - run[-1][0] >= lookback:
                expected[_channels(run), False] += 1
    return expected


def _runs(touches: Sequence[_Touch], gap: int) -> Iterator[list[_Touch]]:
    """Yield runs of touches, separated by pauses of at least `gap`."""
    run: list[_Touch] = []
    for touch in touches:
        if run and touch[0] - run[-1][0] >= gap:
            yield run
            run = []
        run.append(touch)
    if run:
        yield run


def _channels(touches: Sequence[_Touch]) -> tuple[str, ...]:
    return tuple(channel for _, channel in touches)


@pytest.mark.parametrize("seed", range(6))
def test_journeys_equal_those_built_event_by_event(
    connection: DuckQueries, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    people = [min(chance.randint(0, 12), chance.randint(0, 12)) for _ in range(250)]
    events = [  # even customers never convert, p0 has many touches
        (
            f"p{customer}",
            chance.randint(0, 900),
            chance.choice(["a", "b", "c", *([None] * (customer % 2))]),
        )
        for customer in people
    ]
    lines = [
        f"{customer},{START + at},{channel or ''},{'touch' if channel else 'conversion'},1"
        for customer, at, channel in events
    ]
    journeys = _journeys(connection, tmp_path, lines, lookback_ms=20)
    paths = journeys.path_counts()
    expected = _expected_paths(events, 20)
    actual = Counter(
        {
            (path, is_converted): round(count)
            for path, (conversions, _, nulls) in _paths(paths).items()
            for is_converted, count in ((True, conversions), (False, nulls))
            if count
        }
    )
    assert actual == expected
    _check_customers(journeys.customers(paths), paths, len({customer for customer, _, _ in events}))


def _check_customers(customers: Customers, paths: PathCounts, maximum: int) -> None:
    """Check that the customers, drawn each once, are those of the table."""
    assert 0 < customers.counts.sum() <= maximum
    assert customers.counts @ customers.conversions == pytest.approx(paths.conversions)
    assert customers.counts @ customers.nulls == pytest.approx(paths.nulls)


def test_hundred_thousand_channels_are_credited(tmp_path: Path) -> None:
    lines = [HEADER]
    lines += [
        _touch(f"p{index % 50_000}", 1 + index / 1e6, f"c{index}") for index in range(100_000)
    ]
    lines += [_conversion(f"p{index}", 2) for index in range(0, 50_000, 5)]
    answer = _answer(write_csv(tmp_path / "t.csv", lines), lookback_ms=DAY)
    assert len(answer.attribution.channels) == 100_000
    assert answer.attribution.conversions == 10_000
    assert sum(channel.conversions for channel in answer.attribution.channels) == pytest.approx(
        10_000
    )


@pytest.mark.parametrize("model", MODELS)
def test_little_data_gets_a_plain_answer(tmp_path: Path, model: str) -> None:
    empty_answer = _answer(write_csv(tmp_path / "none.csv", [HEADER]), model)
    assert empty_answer.attribution.channels == ()
    single_answer = _answer(
        write_csv(tmp_path / "one.csv", [HEADER, _touch("p", 0, "a"), _conversion("p", 1)]), model
    )
    assert [(c.conversions, c.low, c.high) for c in single_answer.attribution.channels] == [
        (1, None, None)
    ]
    null_answer = _answer(
        write_csv(tmp_path / "null.csv", [HEADER, _touch("p", 0, "a"), _touch("q", 50, "a")]), model
    )
    assert null_answer.attribution.conversions == 0
    assert [c.conversions for c in null_answer.attribution.channels] == [0.0]
    bare_answer = _answer(write_csv(tmp_path / "bare.csv", [HEADER, _conversion("p", 1)]), model)
    assert [c.channel for c in bare_answer.attribution.channels] == [NO_TOUCH]


def test_data_beyond_the_memory_goes_to_disk(tmp_path: Path) -> None:
    file = tmp_path / "touches.parquet"
    with open_duckdb(Engine(threads=2)) as connection:
        connection.connection.execute(
            f"""COPY (
                SELECT md5((i // 4)::VARCHAR) AS profile_id,
                    CASE WHEN i % 4 = 3 THEN 'conversion' ELSE 'touch' END AS kind,
                    'c' || (hash(i) % 10) AS channel, {START} + i % 4 * 1000 AS occurred_at,
                    2.5 AS value
                FROM range(2_000_000) AS t(i)) TO '{file}' (FORMAT parquet)"""
        )
    question = AttributionQuestion(file, has_paths=False, model="first", draws=BootstrapDraws(0))
    within_memory = _answer_from(
        question, Engine(memory="160MB", folder=tmp_path, threads=2)
    ).attribution
    assert (within_memory.conversions, within_memory.value) == (500_000, 1_250_000)
    assert within_memory == _answer_from(question, Engine(threads=2)).attribution
    with pytest.raises(TableError, match="more memory than allowed"):
        _answer_from(question, Engine(memory="5MB", folder=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["touches.parquet"]
