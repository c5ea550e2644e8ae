"""Backtests: files are played through the stages by the files' own clock, without Kafka."""

import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from typer.testing import CliRunner, Result

from pipeline.adapters.config_files import load
from pipeline.cli.main import build_app
from pipeline.config.model import Bundle
from pipeline.flow import Flow
from pipeline.model.decision import Decision
from pipeline.model.fingerprint import fingerprint
from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS, HOUR_MS
from tests.support.replayed import write_topic
from tests.support.shop_log import START_MS, shop_log, visit
from tests.support.worlds import rules

_DEMO = Path(__file__).parents[2] / "deploy" / "demo"


def _write(path: Path, interactions: Iterable[Interaction]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"".join(msgspec.json.encode(interaction) + b"\n" for interaction in interactions)
    )
    return path


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Function that runs the command; the tables are in `out`."""
    monkeypatch.setenv("KAIROS_HOME", str(tmp_path / "home"))

    def run(log: Path, *options: str, config: Path = _DEMO) -> Result:
        arguments = ["--input", str(log), "--config", str(config), "--out", str(tmp_path / "out")]
        return CliRunner().invoke(build_app("backtest"), ["backtest", *arguments, *options])

    return run


@pytest.fixture
def play(invoke: Callable[..., Result]) -> Callable[..., Any]:
    """Function that runs the command, and returns its report."""

    def run(log: Path, *options: str, config: Path = _DEMO) -> Any:
        result = invoke(log, "--json", *options, config=config)
        assert result.exit_code in (0, 1), result.output
        return msgspec.json.decode(result.stdout)

    return run


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], list[Any]]:
    """Function that queries the tables that the command has written, each by its name."""

    def ask(query: str) -> list[Any]:
        with duckdb.connect() as database:
            for file in (tmp_path / "out").glob("*.parquet"):
                database.execute(f"CREATE VIEW {file.stem} AS FROM '{file}'")
            return database.execute(query).fetchall()

    return ask


def _run_stages(log: Sequence[Interaction]) -> tuple[Flow, list[Emit]]:
    """Run the stages on the log, and return the flow and its outputs."""
    bundle = load(_DEMO)
    assert isinstance(bundle, Bundle)
    flow = Flow(rules(bundle))

    def run_log() -> Iterator[Emit]:
        for interaction in log:
            yield from flow.advance(interaction.received_at)
            yield from flow.run(interaction)

    return flow, list(run_log())


def test_decisions_are_those_of_the_stages(
    tmp_path: Path, play: Callable[..., Any], table: Callable[[str], list[Any]]
) -> None:
    log = shop_log()
    _, emits = _run_stages(log)
    decisions = [emit.value for emit in emits if isinstance(emit.value, Decision)]
    report = play(_write(tmp_path / "a.ndjson", log))
    assert report["decision_hash"] == fingerprint(decisions)
    assert (
        report["decisions"] == len(decisions) > len({interaction.event_id for interaction in log})
    )
    assert report["interactions"] == len(log)
    ids = {decision_id for (decision_id,) in table("SELECT DISTINCT decision_id FROM decisions")}
    assert ids == {decision.decision_id for decision in decisions}


def test_tables_equal_the_records_of_the_stages(
    tmp_path: Path, play: Callable[..., Any], table: Callable[[str], list[Any]]
) -> None:
    log = shop_log()
    flow, emits = _run_stages(log)
    report = play(_write(tmp_path / "a.ndjson", log))
    changes = [emit.value for emit in emits if emit.topic == "segments.changes"]
    change_rows = table('SELECT profile_id, segment, change, epoch_ms("at") FROM segments')
    assert sorted(change_rows) == sorted((c.profile_id, c.segment, c.change, c.at) for c in changes)  # type: ignore[union-attr]
    actions = [emit.value.action_id for emit in emits if emit.topic.startswith("actions.")]  # type: ignore[union-attr]
    assert sorted(table("SELECT action_id FROM actions")) == sorted((action,) for action in actions)
    assert table(
        "SELECT action_id FROM decisions WHERE action_id IS NOT NULL ORDER BY 1"
    ) == sorted((action,) for action in actions)
    members = {
        (profile, segment)
        for profile, state in flow.rows["segmentation"].items()
        for segment in state.members
    }
    assert set(table("SELECT profile_id, segment FROM memberships")) == members
    assert report["memberships"] == len(members) > 0
    assert report["identifiers"] == table("SELECT count(*) FROM identifiers")[0][0]
    profiles = table("SELECT DISTINCT profile_id FROM identifiers")
    assert sorted(profiles) == sorted(table("SELECT profile_id FROM profiles"))


def test_log_of_decisions_shows_the_worth_of_a_configuration(
    tmp_path: Path, play: Callable[..., Any], invoke: Callable[..., Result]
) -> None:
    log = shop_log()
    values = [emit.value for emit in _run_stages(log)[1]]
    folder = tmp_path / "log"
    write_topic(folder, "decisions", [value for value in values if isinstance(value, Decision)])
    segmented = [
        value for value in values if isinstance(value, Segmented) and value.interaction is not None
    ]
    write_topic(folder, "interactions.segmented", segmented)
    file = _write(tmp_path / "a.ndjson", log)
    assert play(file)["worth"] is None
    worth = play(file, "--log", str(folder))["worth"]
    assert (worth["undrawn"], worth["unplayed"]) == (0, 0)
    assert worth["slots"] + worth["unfinished"] > 0
    assert not worth["gain"]["value"]
    output = " ".join(invoke(file, "--log", str(folder)).output.split())
    expected = "left out: 0 slots that the other configuration changes without a randomised choice"
    assert expected in output


def test_identified_devices_share_one_profile(
    tmp_path: Path, play: Callable[..., Any], table: Callable[[str], list[Any]]
) -> None:
    log = [
        visit(1, "home", START_MS, "cookie:a"),
        visit(2, "home", START_MS + 1, "cookie:b"),
        visit(3, "purchase", START_MS + 2, "customer_id:c", "cookie:a"),
        visit(4, "purchase", START_MS + 3, "customer_id:c", "cookie:b"),
    ]
    play(_write(tmp_path / "a.ndjson", log))
    [(joined_id, names)] = table(
        "SELECT profile_id, list_sort(list(value)) FROM identifiers GROUP BY 1"
    )
    assert (joined_id, names) == (profile_id(Identifier("customer_id", "c")), ["a", "b", "c"])


@pytest.mark.parametrize("until", [None, START_MS + HOUR_MS - 1, START_MS + HOUR_MS])
def test_cart_left_for_an_hour_of_the_log_gives_one_mail(
    tmp_path: Path,
    until: int | None,
    play: Callable[..., Any],
    table: Callable[[str], list[Any]],
) -> None:
    names = ("customer_id:c", "email:c@example.com")
    file = _write(tmp_path / "a.ndjson", [visit(1, "add_to_cart", START_MS, *names)])
    end_option = () if until is None else ("--until", _iso_time(until))
    report = play(file, *end_option)
    mails = table("SELECT campaign, epoch_ms(created_at) FROM actions WHERE channel = 'email'")
    is_due = until == START_MS + HOUR_MS
    assert mails == ([("cart-recovery", START_MS + HOUR_MS)] if is_due else [])
    assert report["until"] == (until or START_MS)


def _iso_time(at: int) -> str:
    with duckdb.connect() as database:
        [(text,)] = database.execute(
            f"SELECT strftime(make_timestamp({at} * 1000), '%xT%H:%M:%S.%g')"
        ).fetchall()
    return str(text)


def test_interactions_after_the_end_are_left_out(tmp_path: Path, play: Callable[..., Any]) -> None:
    log = shop_log()
    middle_ms = log[150].received_at
    full_report = play(_write(tmp_path / "a.ndjson", log), "--until", _iso_time(middle_ms))
    first_half = [interaction for interaction in log if interaction.received_at <= middle_ms]
    part_report = play(_write(tmp_path / "b.ndjson", first_half))
    assert full_report["after_until"] == len(log) - len(first_half) > 0
    assert full_report["decision_hash"] == part_report["decision_hash"]


def test_rows_in_any_order_and_files_give_the_same_decisions(
    tmp_path: Path, play: Callable[..., Any]
) -> None:
    log = shop_log()
    shuffled_log = [*log]
    random.Random(1).shuffle(shuffled_log)
    single_report = play(_write(tmp_path / "a.ndjson", log))
    second_report = play(_write(tmp_path / "a.ndjson", log))
    _write(tmp_path / "folder" / "1.ndjson", shuffled_log[:100])
    _write(tmp_path / "folder" / "deep" / "2.ndjson", shuffled_log[100:])
    _write(tmp_path / "folder" / ".hidden", shop_log(seed=8))
    folder_report = play(tmp_path / "folder")
    assert second_report == single_report
    assert folder_report["decision_hash"] == single_report["decision_hash"]
    assert len(folder_report["files"]) == 2


def test_repeated_event_is_decided_once(tmp_path: Path, play: Callable[..., Any]) -> None:
    log = shop_log()
    single_report = play(_write(tmp_path / "a.ndjson", log))
    repeat_report = play(_write(tmp_path / "a.ndjson", [*log, *log]))
    assert repeat_report["interactions"] == 2 * single_report["interactions"]
    assert repeat_report["decision_hash"] == single_report["decision_hash"]


def test_messages_of_segment_count_at_their_own_time(
    tmp_path: Path, play: Callable[..., Any], table: Callable[[str], list[Any]]
) -> None:
    message = (
        b'{"type":"track","event":"add_to_cart","userId":"c","messageId":"m",'
        b'"timestamp":"2023-11-14T22:13:20Z","context":{"traits":{"email":"c@example.com"}}}\n'
    )
    (tmp_path / "a.ndjson").write_bytes(message)
    assert play(tmp_path / "a.ndjson")["until"] == START_MS
    assert table("SELECT DISTINCT epoch_ms(decided_at) FROM decisions") == [(START_MS,)]


def test_another_configuration_decides_otherwise(
    tmp_path: Path, play: Callable[..., Any], table: Callable[[str], list[Any]]
) -> None:
    other_config = tmp_path / "other"
    shutil.copytree(_DEMO, other_config)
    (other_config / "campaigns" / "cart-recovery.yaml").unlink()
    file = _write(tmp_path / "a.ndjson", shop_log())
    report = play(file)
    count_with_campaign = table("SELECT count(*) FROM actions WHERE campaign = 'cart-recovery'")
    other_report = play(file, config=other_config)
    count_without_campaign = table("SELECT count(*) FROM actions WHERE campaign = 'cart-recovery'")
    assert count_with_campaign > [(0,)] == count_without_campaign
    assert other_report["decision_hash"] != report["decision_hash"]


def test_outcomes_of_messages_that_were_not_sent_are_left_out(
    tmp_path: Path, play: Callable[..., Any], table: Callable[[str], list[Any]]
) -> None:
    log = shop_log()
    file = _write(tmp_path / "a.ndjson", log)
    play(file)
    [(sent_id, at)] = table(
        "SELECT action_id, epoch_ms(created_at) FROM actions ORDER BY 2 LIMIT 1"
    )
    message_properties = {"campaign": "x", "offer": "x"}
    outcomes = [
        msgspec.structs.replace(
            visit(900 + number, "click", at + 1, "cookie:1-0", kind="outcome"),
            properties={**message_properties, "action_id": action},
        )
        for number, action in enumerate((sent_id, "never-sent"))
    ]
    report = play(_write(tmp_path / "a.ndjson", [*log, *outcomes]))
    assert report["outcomes_left_out"] == 1


def test_bad_rows_are_reported_with_their_line_and_the_others_played(
    tmp_path: Path, invoke: Callable[..., Result]
) -> None:
    file = _write(tmp_path / "a.ndjson", shop_log(maximum=10))
    row_count = len(file.read_bytes().splitlines())
    row_without_time = (
        b'{"kind":"track","name":"home","identifiers":[{"namespace":"cookie","value":"a"}]}\n'
    )
    message_without_time = b'{"type":"track","event":"home","anonymousId":"a"}\n'
    file.write_bytes(b"{broken\n" + row_without_time + message_without_time + file.read_bytes())
    result = invoke(file)
    message = " ".join(result.stderr.split())
    assert result.exit_code == 1
    assert "a.ndjson:1: " in message
    assert "a.ndjson:2: occurred_at: a replayed log needs the time" in message
    assert "a.ndjson:3: timestamp: a replayed log needs the time" in message
    assert f"{row_count:,} interactions until" in result.stdout
    assert "3 rows refused" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("empty", (), "empty has no files"),
        ("missing.ndjson", (), "missing.ndjson is not a file"),
        ("blank.ndjson", (), "there are no interactions in"),
        ("broken.ndjson", (), "no row is an interaction; the first:"),
        ("text.parquet", (), "text.parquet is not Parquet"),
        ("odd.csv", (), "odd.csv:1: column 'price' is unknown"),
        ("good.ndjson", ("--until", "yesterday"), "'yesterday' is not a time like"),
        ("good.ndjson", ("--source", "nobody"), "sources.yaml has no source 'nobody'"),
    ],
)
def test_unplayable_input_is_refused_and_no_tables_are_written(
    tmp_path: Path,
    name: str,
    options: Sequence[str],
    message: str,
    invoke: Callable[..., Result],
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.ndjson").write_bytes(b"\n\n")
    (tmp_path / "broken.ndjson").write_bytes(b"{\n")
    (tmp_path / "text.parquet").write_bytes(b"text")
    (tmp_path / "odd.csv").write_text("type,userId,price\n")
    _write(tmp_path / "good.ndjson", shop_log(maximum=3))
    result = invoke(tmp_path / name, *options)
    assert result.exit_code != 0
    assert message in " ".join(f"{result.exception} {result.output}".split())
    assert str(result.exception).count(name) <= 1
    assert not (tmp_path / "out").exists()


def test_wrong_configuration_is_reported_with_file_and_line(
    tmp_path: Path, invoke: Callable[..., Result]
) -> None:
    shutil.copytree(_DEMO, tmp_path / "other")
    (tmp_path / "other" / "channels.yaml").write_text("chanels: []\n")
    result = invoke(_write(tmp_path / "a.ndjson", shop_log(maximum=3)), config=tmp_path / "other")
    assert result.exit_code == 1
    assert "channels.yaml:1:1" in str(result.exception)


def test_memberships_are_those_of_the_end_of_the_backtest(
    tmp_path: Path, play: Callable[..., Any], table: Callable[[str], list[Any]]
) -> None:
    # A year after the log every window is over.
    file = _write(tmp_path / "a.ndjson", shop_log())
    play(file)
    memberships_at_log_end = table(
        "SELECT segment, count(*) FROM memberships GROUP BY 1 ORDER BY 1"
    )
    play(file, "--until", _iso_time(START_MS + 365 * DAY_MS))
    assert (
        table("SELECT segment, count(*) FROM memberships GROUP BY 1 ORDER BY 1")
        != memberships_at_log_end
    )
