"""A replayed topic gives a backtest the same interactions, requests included."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Message
from msgspec.structs import replace
from typer.testing import CliRunner

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.adapters.config_files import load
from pipeline.adapters.rocks import temporary_rows
from pipeline.cli.main import build_app
from pipeline.config.model import Bundle
from pipeline.flow import Flow
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.fingerprint import fingerprint
from pipeline.model.interaction import Context, DecideRequest, Interaction
from pipeline.model.profile import Memberships
from pipeline.replay.input_files import TimedLog, open_files, read_file
from pipeline.replay.manifest import Selection
from pipeline.replay.topic_files import InteractionIntake
from pipeline.replay.topic_tables import DayTables
from tests.support.shop_log import shop_log
from tests.support.worlds import rules

_DEMO = Path(__file__).parents[2] / "deploy" / "demo"
_CODEC = Codec(recorded_versions())


def _write_replay(folder: Path, values: Sequence[msgspec.Struct | bytes], topic: str) -> Path:
    """Write records as `kairos replay` does, by day; no broker is asked."""
    messages = [
        Message(topic, 0, offset, b"key", _encode(topic, value), timestamp=(2, 0))  # type: ignore[call-arg, arg-type, misc]
        for offset, value in enumerate(values)
    ]
    for day, table in DayTables(Selection(topic), _CODEC).split(messages):
        (folder / f"day={day}").mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / f"day={day}" / "part-0-0-9.parquet")
    (folder / "_manifest.json").write_text("{}")
    return folder


def _encode(topic: str, value: msgspec.Struct | bytes) -> bytes:
    return value if isinstance(value, bytes) else _CODEC.encode(topic, value)


def _log_with_requests() -> list[Interaction]:
    """Return a log in which every third interaction requests a decision."""
    log = {interaction.event_id: interaction for interaction in shop_log()}
    return [
        replace(
            interaction,
            request=DecideRequest(event_id, "g", ("home-hero",), interaction.received_at, {"x": 2}),
        )
        if number % 3 == 0
        else interaction
        for number, (event_id, interaction) in enumerate(log.items())
    ]


def _run_backtest(log: Path, tmp_path: Path) -> Any:
    arguments = ["--input", str(log), "--config", str(_DEMO), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(build_app("backtest"), ["backtest", *arguments, "--json"])
    assert result.stdout, result.exception or result.output
    return {"code": result.exit_code, **msgspec.json.decode(result.stdout)}


def test_replayed_topic_is_decided_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAIROS_HOME", str(tmp_path / "home"))
    log = _log_with_requests()
    bundle = load(_DEMO)
    assert isinstance(bundle, Bundle)
    flow = Flow(rules(bundle))
    emits = [
        emit
        for interaction in log
        for emit in (*flow.advance(interaction.received_at), *flow.run(interaction))
    ]
    decisions = [emit.value for emit in emits if isinstance(emit.value, Decision)]
    assert any(choice.slot == "home-hero" for decision in decisions for choice in decision.choices)
    report = _run_backtest(_write_replay(tmp_path / "topic", log, topics.INTERACTIONS), tmp_path)
    assert (report["code"], report["refused"]) == (0, 0)
    assert report["interactions"] == len(log)
    assert report["decision_hash"] == fingerprint(decisions)


def test_every_field_of_an_interaction_comes_back(tmp_path: Path) -> None:
    complete = replace(
        shop_log(maximum=1)[0],
        properties={"a.b": 1.5, "n": 2**62, "gift": True, "note": "ñ", "none": None, "one": 1.0},
        context=Context(ip="::1", campaign={"source": "x"}, consent={"ads": False}),
        request=DecideRequest("r", "g", ("p", "q"), 5, {"p": 3}),
        lists={"skus": ("1", "2"), "empty": ()},
    )
    folder = _write_replay(tmp_path, [complete], topics.INTERACTIONS)
    [file] = open_files(folder, 1 << 20)
    with temporary_rows() as rows:
        log = TimedLog(rows)
        read_file(file, InteractionIntake(), log, lambda _: None)
        assert list(log) == [complete]


def test_row_that_is_no_interaction_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAIROS_HOME", str(tmp_path / "home"))
    values = [shop_log(maximum=1)[0], b"\x00\x00\x00\x00\x01broken"]
    report = _run_backtest(_write_replay(tmp_path / "topic", values, topics.INTERACTIONS), tmp_path)
    assert report["code"] == 1
    file_report = next(file for file in report["files"] if file["refused"])
    assert "is not an interaction" in file_report["first"][0]["message"]
    other_replay = _write_replay(
        tmp_path / "other", [Memberships("p", {}, 0, "c")], topics.MEMBERSHIPS
    )
    with pytest.raises(Exception, match="replay of another topic"):
        open_files(other_replay, 1 << 20)
