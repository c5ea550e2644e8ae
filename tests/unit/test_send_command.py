"""`kairos send --check` reports bad rows with line and column, and counts the rows to send."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from pipeline.cli import send
from pipeline.cli.main import build_app
from tests.support.worlds import plain_rules


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Function that runs the command on a file of this content, and returns its exit code and its
    output."""
    monkeypatch.setattr(send, "ensure_configuration", lambda _: plain_rules().config)

    def run(content: bytes, *options: str) -> tuple[int, str]:
        file = tmp_path / "a.csv"
        file.write_bytes(content)
        app = build_app("send")
        result = CliRunner().invoke(app, ["send", str(file), "--check", *options])
        return result.exit_code, result.output + result.stderr

    return run


_ROWS = (
    b"type,event,anonymousId,properties.total\n"
    b"track,Order,c,1\n"
    b"track,Order,caf\xe9,2\n"
    b'track,"two\nlines",c,3\n'
    b"track,,c,4\n"
)


def test_bad_rows_are_reported_with_line_and_column(check: Any) -> None:
    code, output = check(_ROWS)
    assert code == 1
    assert "a.csv:3: anonymousId: byte 0xe9" in output
    assert "a.csv:6: event: " in output
    assert "2 interactions would be sent, 2 refused" in output


def test_named_encoding_is_used(check: Any) -> None:
    code, output = check(_ROWS, "--encoding", "windows-1252")
    assert "3 interactions would be sent, 1 refused" in output
    assert code == 1


def test_help_states_which_rows_are_copies() -> None:
    result = CliRunner().invoke(build_app("send"), ["send", "--help"], env={"COLUMNS": "200"})
    output = " ".join(result.output.split())
    assert "A row that is sent again counts once" in output
    assert "its number among the equal rows of the file" in output


def test_json_reports_the_same_rows(check: Any) -> None:
    code, output = check(_ROWS, "--json", "--key", "properties.total")
    report = msgspec.json.decode(output)
    assert code == 1
    assert (report["sent"], report["refused"], report["stopped"]) == (2, 2, None)
    assert [(row["line"], row["code"], row["field"]) for row in report["first"]] == [
        (3, "not_text", "anonymousId"),
        (6, "missing_field", "event"),
    ]


_ROWS_WITH_TOTAL = (
    b"type,event,userId,properties.total\ntrack,Order,bob,1\ntrack,Order,alice,2\n,,Total,3\n"
)


def test_total_below_the_rows_is_refused_with_its_line_and_remedy(check: Any) -> None:
    code, output = check(_ROWS_WITH_TOTAL)
    assert code == 1
    assert "a.csv:4: it looks like a footer" in output
    assert '--footer ""' in output
    assert "2 interactions would be sent, 1 refused" in output


def test_named_footer_is_left_out(check: Any) -> None:
    code, output = check(_ROWS_WITH_TOTAL, "--footer", ".*Total.*")
    assert (code, "2 interactions would be sent, 0 refused" in output) == (0, True)


def test_whole_last_row_of_a_customer_called_total_is_sent(check: Any) -> None:
    code, output = check(_ROWS_WITH_TOTAL.replace(b",,Total", b"track,Order,Total"))
    assert (code, "3 interactions would be sent, 0 refused" in output) == (0, True)


def test_invalid_footer_pattern_is_named_by_the_command(check: Any) -> None:
    code, output = check(_ROWS_WITH_TOTAL, "--footer", "(Total")
    assert code == 2
    assert "not a regular expression" in " ".join(output.split())
