"""Each command of insights on every odd input: a correct answer, or a fault with its place."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import build_app
from pipeline.simulate.offers import SALES
from tests.support.odd_tables import ODD_TABLES, PLAN, TABLES, OddTable, write_csv
from tests.support.odd_topics import ODD_TOPICS, OddTopic, usual_records

_COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "attribution --touches {touches}": ("touches",),
    "attribution --touches {touches} --model time-decay": ("touches",),
    "attribution --paths {paths}": ("paths",),
    "off-policy --log {log}": ("log",),
    "journeys --events {events} --goal Opened --gap 2d": ("events",),
    "journeys --events {events} --defined {plan} --details": ("events",),
    "anomalies --events {events} --goal Opened": ("events",),
    "recommend --events {events} --prompts {prompts}": ("events", "prompts"),
    "recommend --events {events} --prompts {prompts} --defined {plan}": ("events", "prompts"),
    "recommend --events {events} --prompts {prompts} --goal Opened": ("events", "prompts"),
}
_GOAL: Final = SALES[0].goal
_SALE: Final = f"""
journey: sale
goal: {{when: {{name: {_GOAL}}}, window: 20d}}
steps:
  - step: bought
    mandatory: true
    reached: {{name: {_GOAL}}}
    prompts: [{{offers: [{SALES[0].offer}]}}]
"""
_BANK: Final = Path(__file__).parents[2] / "deploy" / "bank"
_TOPIC_COMMANDS: Final = (
    "campaigns --topics {topics} --config {bank}",
    "impact --topics {topics} --config {bank}",
    "segments --topics {topics}",
    "anomalies --topics {topics} --goal {goal}",
    "report --topics {topics} --config {bank} --goal {goal} --journey {plan} --out {out}",
    "decisions --topics {topics} --by segment",
    "attribution --topics {topics} --config {bank} --goal {goal}",
    "recommend --topics {topics} --defined {plan}",
)


def _first_command_of(table: str) -> str:
    """Return the first command that reads a table."""
    return next(command for command, tables in _COMMANDS.items() if table in tables)


_CASES: Final = [
    pytest.param(command, table, odd_table, id=f"{command} ({table}: {odd_table.name})")
    for command, tables in _COMMANDS.items()
    for table in tables
    for odd_table in ODD_TABLES
    if table in odd_table.tables and (not odd_table.form or command == _first_command_of(table))
]


def _ask(command: str, folder: Path, files: Mapping[str, Path]) -> tuple[int, str, str]:
    """Run a command; return its exit code, output, and message about an error."""
    plan = folder / "plan.yaml"
    plan.write_text(PLAN)
    arguments = [word.format(plan=plan, **files) for word in command.split()]
    result = CliRunner().invoke(build_app("insights"), ["insights", *arguments, "--json"])
    message = str(result.exception) if result.exception and result.exit_code == 1 else result.stderr
    return result.exit_code, result.stdout, " ".join(message.split())


def _write_files(command: str, folder: Path) -> dict[str, Path]:
    return {table: write_csv(folder / table, TABLES[table]()) for table in _COMMANDS[command]}


@pytest.fixture(scope="module")
def usual_answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Answers to all commands on the usual tables."""
    answers = {}
    for command in _COMMANDS:
        folder = tmp_path_factory.mktemp("usual")
        code, answers[command], message = _ask(command, folder, _write_files(command, folder))
        assert code == 0, message
    return answers


@pytest.mark.parametrize(("command", "table", "odd_table"), _CASES)
def test_odd_table_gets_an_answer_or_a_reason(
    command: str, table: str, odd_table: OddTable, tmp_path: Path, usual_answers: Mapping[str, str]
) -> None:
    files = _write_files(command, tmp_path)
    files[table] = odd_table.write(tmp_path / f"odd-{table}", TABLES[table]())
    code, output, message = _ask(command, tmp_path, files)
    expected = odd_table.expected_words(table)
    if expected is None:
        assert code == 0, message
        _check_figures(json.loads(output, parse_constant=_refuse_constant))
        if odd_table.same:
            assert _normalise(output) == _normalise(usual_answers[command])
    else:
        assert code == 1, output
        assert expected.format(file=files[table]) in message
        assert str(files[table]) in message


@pytest.mark.parametrize("command", _TOPIC_COMMANDS)
@pytest.mark.parametrize("odd_topic", ODD_TOPICS, ids=lambda odd_topic: odd_topic.name)
def test_odd_topics_get_an_answer_or_a_reason(
    odd_topic: OddTopic, command: str, topics: Callable[[OddTopic | None], Path]
) -> None:
    folder = topics(odd_topic)
    code, output, message = _ask_topics(command, folder)
    expected = odd_topic.expected_words(command.split()[0])
    if expected is None:
        assert code == 0, message
        _check_figures(json.loads(output, parse_constant=_refuse_constant))
        if odd_topic.same:
            _, usual_output, _ = _ask_topics(command, topics(None))
            assert _normalise(output) == _normalise(usual_output)
    else:
        assert code == 1, output
        assert expected in message
        assert str(folder) in message


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Callable[[OddTopic | None], Path]:
    """Function that returns the folder of odd topics, or of the usual ones."""
    records = usual_records()
    folders_by_name: dict[str, Path] = {}

    def write(odd_topic: OddTopic | None) -> Path:
        name = "usual" if odd_topic is None else odd_topic.name
        if name not in folders_by_name:
            folders_by_name[name] = tmp_path_factory.mktemp("topics")
            if odd_topic is None:
                records.write(folders_by_name[name])
            else:
                odd_topic.write(folders_by_name[name], records)
        return folders_by_name[name]

    return write


def _ask_topics(command: str, folder: Path) -> tuple[int, str, str]:
    (folder / "sale.yaml").write_text(_SALE)
    files = {"topics": folder, "out": folder / "report.html", "plan": folder / "sale.yaml"}
    words = [word.format(**files, bank=_BANK, goal=_GOAL) for word in command.split()]
    result = CliRunner().invoke(build_app("insights"), ["insights", *words, "--json"])
    message = str(result.exception) if result.exception and result.exit_code == 1 else result.stderr
    return result.exit_code, result.stdout, " ".join(message.split())


def _refuse_constant(text: str) -> NoReturn:
    raise AssertionError(text)


def _normalise(output: str) -> Any:
    """Return an answer without its counts of repeated rows, with numbers to nine digits."""
    text = re.sub(r'"(repeated|repeated_rows)": \d+', r'"\1": 0', output)
    return json.loads(text, parse_float=lambda number: f"{float(number):.9g}")


def _check_figures(answer: Any) -> None:
    """Check that intervals have both ends or none."""
    for record in _records(answer):
        low, high = record.get("low"), record.get("high")
        assert (low is None) == (high is None), record
        if low is not None and high is not None:
            assert low <= high, record


def _records(answer: Any) -> Iterator[dict[str, Any]]:
    if isinstance(answer, dict):
        yield answer
    if isinstance(answer, dict | list):
        for part in answer.values() if isinstance(answer, dict) else answer:
            yield from _records(part)
