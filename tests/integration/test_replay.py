"""Topics as Parquet: each offset once, also when the replay is killed and run again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from typer.testing import CliRunner, Result

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.cli.main import build_app
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier
from pipeline.model.time import DAY_MS
from pipeline.settings import Settings
from tests.support.small_chunks import CHUNK

_CODEC = Codec(recorded_versions())
_START_MS = 1_700_000_000_000
_PARTITIONS = 3
_GARBAGE = b"garbage"
_RUN_RECORDS = 3_000
"""Records for a run to replay: some fifteen parts."""


@pytest.fixture
def topic(bootstrap: str, prefix: str) -> str:
    """Action topic of this test."""
    name = f"actions.{prefix}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    config = {"message.timestamp.type": "LogAppendTime"}
    request = NewTopic(name, _PARTITIONS, config=config)
    admin.create_topics([request], operation_timeout=30)[name].result()
    return name


@pytest.fixture
def variables(settings: Settings) -> dict[str, str]:
    return {
        "KAIROS_HOME": str(settings.home),
        "KAIROS_BOOTSTRAP_SERVERS": str(settings.bootstrap_servers),
    }


@pytest.fixture
def invoke(
    topic: str, tmp_path: Path, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Function that replays the topic to `out`."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def run(*options: str, topic_name: str = topic) -> Result:
        common_options = ["--topic", topic_name, "--out", str(tmp_path / "out"), "--json"]
        return CliRunner().invoke(build_app("replay"), ["replay", *common_options, *options])

    return run


def _action(number: int) -> Action:
    time_ms = _START_MS + number * DAY_MS // 1_000
    return Action(
        action_id=f"a{number}",
        decision_id="d",
        event_id="e",
        profile_id=f"p{number % 7}",
        identifier=Identifier("email", "a@example.com"),
        purpose="marketing",
        campaign="c",
        offer="o",
        treatment="t",
        channel="web",
        placement=None,
        address=None,
        content={"title": f"número {number}"},
        created_at=time_ms,
        deadline_at=time_ms + 1,
        token="secret",
    )


def _produce(bootstrap: str, topic: str, numbers: range) -> None:
    """Produce records, of which one in 100 is a tombstone and one in 150 garbage."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    for number in numbers:
        value = _CODEC.encode(topic, _action(number))
        if number % 100 == 0:
            value = None
        elif number % 150 == 1:
            value = _GARBAGE
        producer.produce(topic, value, f"p{number}")
        producer.poll(0)
    assert producer.flush(30) == 0


def _query(tmp_path: Path, query: str) -> list[Any]:
    files = tmp_path / "out" / "*" / "*.parquet"
    with duckdb.connect() as database:
        database.execute(f"CREATE VIEW t AS FROM read_parquet('{files}', hive_partitioning = true)")
        return database.execute(query).fetchall()


def _check_records(tmp_path: Path, numbers: range) -> None:
    """Check that every record of `numbers` is there once, as it was written."""
    tombstones = {number for number in numbers if number % 100 == 0}
    garbage = {number for number in numbers if number % 150 == 1} - tombstones
    counts = "SELECT count(*), count(DISTINCT (kafka_partition, kafka_offset)) FROM t"
    assert _query(tmp_path, counts) == [(len(numbers), len(numbers))]
    gaps = "SELECT max(kafka_offset) + 1 - count(*) FROM t GROUP BY kafka_partition"
    assert _query(tmp_path, gaps) == [(0,)] * _PARTITIONS
    keys = "SELECT kafka_key FROM t WHERE"
    assert set(_query(tmp_path, f"{keys} kafka_tombstone")) == {
        (f"p{number}",) for number in tombstones
    }
    unreadable_keys = set(_query(tmp_path, f"{keys} kafka_error IS NOT NULL"))
    assert unreadable_keys == {(f"p{number}",) for number in garbage}
    columns = "action_id, identifier.value, content['title'], epoch_ms(created_at), day::VARCHAR"
    rows = _query(tmp_path, f"SELECT {columns} FROM t WHERE action_id IS NOT NULL")
    expected = [
        (
            action.action_id,
            "a@example.com",
            action.content["title"],
            action.created_at,
            _day(action.created_at),
        )
        for action in map(_action, sorted(set(numbers) - tombstones - garbage))
    ]
    assert sorted(rows) == sorted(expected)


def _day(time_ms: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time_ms / 1000))


def test_each_offset_is_written_once_although_the_replay_is_killed(
    bootstrap: str, topic: str, tmp_path: Path, variables: dict[str, str]
) -> None:
    count = kill_count = 0
    while kill_count < 3:
        assert count < 20 * _RUN_RECORDS, "it always ended before it could be killed"
        _produce(bootstrap, topic, range(count, count + _RUN_RECORDS))
        count += _RUN_RECORDS
        part_count = len(_parts(tmp_path)) + 2 + 3 * kill_count
        kill_count += _kill_at(part_count, _start(topic, tmp_path, variables), tmp_path)
    process = _start(topic, tmp_path, variables)
    assert process.wait(120) == 0
    _check_records(tmp_path, range(count))
    assert not list((tmp_path / "out").glob("*/*.unfinished"))
    assert len(_parts(tmp_path)) >= count // CHUNK


def _kill_at(part_count: int, process: "subprocess.Popen[bytes]", tmp_path: Path) -> bool:
    """Kill the replay once it has written `part_count` parts; return whether it still ran."""
    _wait(lambda: len(_parts(tmp_path)) >= part_count or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def _parts(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "out").glob("*/part-*.parquet"))


def _start(topic: str, tmp_path: Path, variables: dict[str, str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.support.small_chunks", "--topic", topic]
    command += ["--out", str(tmp_path / "out")]
    return subprocess.Popen(command, env={**os.environ, **variables}, start_new_session=True)


def _wait(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def test_files_beyond_the_manifest_of_a_killed_run_are_written_again(
    bootstrap: str, topic: str, tmp_path: Path, invoke: Callable[..., Result]
) -> None:
    _produce(bootstrap, topic, range(600))
    assert invoke().exit_code == 0
    (tmp_path / "out" / "_manifest.json").unlink()
    assert invoke().exit_code == 0
    _check_records(tmp_path, range(600))


def test_repeated_command_adds_the_records_written_meanwhile(
    bootstrap: str, topic: str, tmp_path: Path, invoke: Callable[..., Result]
) -> None:
    _produce(bootstrap, topic, range(600))
    first_report = msgspec.json.decode(invoke().stdout)
    assert (first_report["records"], first_report["unreadable"]) == (600, 4)
    assert msgspec.json.decode(invoke().stdout)["records"] == 0
    _produce(bootstrap, topic, range(600, 900))
    assert msgspec.json.decode(invoke().stdout)["records"] == 300
    _check_records(tmp_path, range(900))


def test_time_range_is_by_the_records_own_time(
    bootstrap: str, topic: str, tmp_path: Path, invoke: Callable[..., Result]
) -> None:
    _produce(bootstrap, topic, range(1, 100))
    start_ms, end_ms = (_action(number).created_at for number in (20, 30))
    report = msgspec.json.decode(
        invoke("--from", _iso_time(start_ms), "--to", _iso_time(end_ms)).stdout
    )
    rows = _query(tmp_path, "SELECT action_id FROM t")
    assert sorted(rows) == [(f"a{number}",) for number in range(20, 30)]
    assert report["left_out"] == 89


def _iso_time(time_ms: int) -> str:
    return (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time_ms // 1000)) + f".{time_ms % 1000:03}Z"
    )


def test_replay_has_exactly_the_requested_offsets(
    bootstrap: str, topic: str, tmp_path: Path, invoke: Callable[..., Result]
) -> None:
    _produce(bootstrap, topic, range(600))
    assert invoke("--offsets", "0:10-20", "--offsets", "2:0-5").exit_code == 0
    offsets = _query(tmp_path, "SELECT kafka_partition, kafka_offset FROM t")
    assert sorted(offsets) == [
        *((0, number) for number in range(10, 20)),
        *((2, number) for number in range(5)),
    ]


@pytest.fixture
def impossible_replays(topic: str) -> list[tuple[tuple[str, ...], str, str]]:
    """Options, topic, and the expected message."""
    return [
        ((), "actions.nowhere", "there is no topic 'actions.nowhere'; there are "),
        ((), "nonsense", "'nonsense' is not a topic of Kairos's records"),
        (("--offsets", "0:0-100000000"), topic, "has the offsets 0-"),
        (("--offsets", "9:0-1"), topic, "has no partition 9; it has 3"),
        (("--offsets", "0:5-5"), topic, "5 is not before 5"),
        (("--offsets", "0-5"), topic, "'0-5' is not PARTITION:FROM-TO"),
        (("--from", "yesterday"), topic, "'yesterday' is not a time like"),
        (("--from", "2026-01-02", "--to", "2026-01-01"), topic, "is not before --to 2026-01-01"),
    ]


def test_impossible_replay_is_refused_in_one_line(
    impossible_replays: list[tuple[tuple[str, ...], str, str]],
    tmp_path: Path,
    invoke: Callable[..., Result],
) -> None:
    for options, topic, words in impossible_replays:
        result = invoke(*options, topic_name=topic)
        text = " ".join(f"{result.exception} {result.output}".replace("│", " ").split())
        assert result.exit_code != 0
        assert words in text
    assert not (tmp_path / "out").exists()


def test_folder_is_for_one_replay(
    bootstrap: str, topic: str, invoke: Callable[..., Result]
) -> None:
    _produce(bootstrap, topic, range(10))
    assert invoke().exit_code == 0
    refusal = invoke("--to", "2026-01-01")
    assert refusal.exit_code == 1
    assert "holds another replay" in str(refusal.exception)
