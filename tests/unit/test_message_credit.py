"""Credit of messages of replayed topics, beside the increments that holdouts measured."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import build_app
from pipeline.insights.topic_files import DECISIONS, SEGMENTED
from pipeline.simulate.offers import SALES
from tests.support.bank_campaigns import bank_records
from tests.support.replayed import write_topic

_BANK: Final = Path(__file__).parents[2] / "deploy" / "bank"
_GOAL: Final = SALES[0].goal


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("topics")
    records = bank_records(1, 1_200, 30)
    write_topic(folder, DECISIONS, records.decisions)
    write_topic(folder, SEGMENTED, records.segmented)
    return folder


def _run(topics: Path, *options: str) -> str:
    command = ["insights", "attribution", "--topics", str(topics), "--replicates", "0", *options]
    result = CliRunner().invoke(build_app("insights"), command)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def _run_credit(topics: Path, *options: str) -> Any:
    return json.loads(_run(topics, "--config", str(_BANK), "--goal", _GOAL, "--json", *options))


def test_credits_add_up_and_stand_beside_measured_increments(topics: Path) -> None:
    credit = _run_credit(topics, "--model", "linear")
    assert credit["note"].startswith("Credit, not cause")
    assert sum(channel["conversions"] for channel in credit["channels"]) == pytest.approx(
        credit["conversions"]
    )
    assert list(credit["support"]["touches"]) == ["seen"]
    channels = {channel["channel"] for channel in credit["channels"]} - {"(no touch)"}
    assert channels
    increments = {
        measurement["channel"]
        for measurement in credit["measured"]
        if measurement["campaign"] is not None
    }
    assert increments
    assert None not in increments
    campaigns = json.loads(
        CliRunner()
        .invoke(
            build_app("insights"),
            ["insights", "campaigns", "--topics", str(topics), "--config", str(_BANK), "--json"],
        )
        .output
    )
    assert all(measurement in campaigns["lifts"] for measurement in credit["measured"])


def test_touches_are_sent_seen_or_clicked_messages(topics: Path) -> None:
    credits_by_kind = {
        kind: _run_credit(topics, "--only", kind) for kind in ("sent", "seen", "clicked")
    }
    counts = {kind: credit["support"]["touches"][kind] for kind, credit in credits_by_kind.items()}
    assert counts["sent"] > counts["seen"] > counts["clicked"] > 0
    assert len({credit["conversions"] for credit in credits_by_kind.values()}) == 1


@pytest.mark.parametrize("unit", ["channel", "campaign", "message"])
def test_each_unit_of_messages_gets_credit(topics: Path, unit: str) -> None:
    credit = _run_credit(topics, "--unit", unit, "--model", "last")
    names = {channel["channel"] for channel in credit["channels"]} - {"(no touch)"}
    campaigns = {sale.campaign for sale in SALES}
    assert credit["unit"] == unit
    assert names <= campaigns if unit == "campaign" else names


def test_tables_show_credit_and_cause_apart(topics: Path) -> None:
    output = " ".join(_run(topics, "--config", str(_BANK), "--goal", _GOAL).split())
    assert "Measured with customers held out" in output
    assert "Credit, not cause" in output


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--unit", "sequence", "--goal", _GOAL), "messages have channel, campaign, message"),
        ((), "--goal: name the goal event"),
    ],
)
def test_units_and_goals_that_messages_lack_are_named(
    topics: Path, options: tuple[str, ...], reason: str
) -> None:
    command = ["insights", "attribution", "--topics", str(topics), *options]
    result = CliRunner().invoke(build_app("insights"), command)
    assert result.exit_code == 1
    assert reason in str(result.exception)
