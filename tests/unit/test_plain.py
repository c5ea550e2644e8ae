"""Shown data cannot control a terminal, and ordinary text is shown unchanged."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import config, console, dlq, doctor, profile, refused_rows, send, status
from pipeline.cli.plain import plain, plain_lines
from pipeline.identity.log import Link
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.interaction import Identifier
from pipeline.row_files.sending import RefusedRow, SendReport
from pipeline.stack.doctor import Finding
from pipeline.stack.status import BrokerStatus, ProcessStatus, StackStatus

_PRINTING_MODULES = (dlq, profile, send, refused_rows, doctor, status, config)

HOSTILE_TEXTS = (
    "[/x]",
    "[bold]not bold[/bold]",
    ":smile:",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b31m",
    "a\rb",
    "\u202eevil",
    "line\u2028end",
    "\ud83d",
    "zero\u200bwidth",
)


def capture_output(monkeypatch: pytest.MonkeyPatch, show: Callable[[], Any], *modules: Any) -> str:
    """Return the output on a terminal of many columns."""
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    plain_console = console.PlainConsole()
    plain_console.file, plain_console._force_terminal, plain_console.width = terminal, True, 2_000
    for module in (console, *modules):
        for name in ("out", "err"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, plain_console)
    monkeypatch.setattr(sys, "stdout", terminal)
    show()
    terminal.flush()
    data = terminal.buffer
    assert isinstance(data, io.BytesIO)
    return data.getvalue().decode()


def _remove_styles(text: str) -> str:
    """Return the text without Rich's own codes for bold, dim and colours."""
    for code in ("0", "1", "2", "3", "31", "32", "33", "39", "1;3", "3;1"):
        text = text.replace(f"\x1b[{code}m", "")
    return text


def _letter(text: str) -> DeadLetterRecord:
    return DeadLetterRecord(
        stage=text,
        reason=text,
        detail=text,
        topic="interactions",
        partition=0,
        offset=0,
        at=0,
        key=text.encode(errors="replace"),
        value=json.dumps({"event": text}).encode(),
        headers={"h": text.encode(errors="replace")},
    )


class _LetterLog:
    """Log of dead letters that holds one letter of the given text."""

    def __init__(self, text: str) -> None:
        self._letter = _letter(text)

    def read_all(self, *_: object) -> list[Any]:
        return [(type("StoredRecord", (), {"partition": 0, "offset": 0}), self._letter)]


def build_printers(text: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], Any]]:
    monkeypatch.setattr(dlq, "_records", lambda: _LetterLog(text))
    person = profile.PersonReport(
        profile_id="p",
        root=text,
        first_seen=0,
        last_seen=0,
        traits={text: text, "list": (text, text)},
        segments={text: 0},
        tree=(Link(text, None, None), Link(text + "2", text, None)),
        history=(),
        decisions=(),
    )
    stack_status = StackStatus(
        text, BrokerStatus("external", text), text, {}, (ProcessStatus(text, "ready"),)
    )
    return {
        "table": lambda: console.print_table(text, [text], [[text]]),
        "error": lambda: console.print_error(text),
        "json": lambda: console.print_json({"a": text.encode(errors="replace").decode()}),
        "dlq list": lambda: dlq.list_letters(None, None, 100, False),
        "dlq show": lambda: dlq.show("0-0", False),
        "profile show": lambda: profile._print(person),
        "send": lambda: send._print(
            Path(text), SendReport(0, 1, (RefusedRow(1, text, text, text),)), "sent"
        ),
        "doctor": lambda: doctor._print(Finding(text, "bad", text, text)),
        "status": lambda: status._print(stack_status),
        "line": lambda: console.out.print(text),
    }


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=ascii)
@pytest.mark.parametrize("name", sorted(build_printers("", pytest.MonkeyPatch())))
def test_no_command_lets_data_control_the_terminal(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = build_printers(text, monkeypatch)[name]
    output = _remove_styles(capture_output(monkeypatch, show, *_PRINTING_MODULES))
    assert plain_lines(output) == output
    if text.isascii() and text.isprintable():
        assert text in output


@given(st.text(max_size=50))
def test_plain_text_is_one_printable_line(text: str) -> None:
    shown_text = plain(text)
    assert "\n" not in shown_text
    assert plain(shown_text) == shown_text
    shown_text.encode()


@pytest.mark.parametrize("text", ["Ñandú", "日本語", "🙂", "a\\b", "١٢٣", "é"])
def test_text_of_every_script_is_unchanged(text: str) -> None:
    assert plain(text) == text


def test_ctrl_c_in_send_reports_the_sent_rows_and_the_next_step(tmp_path: Path) -> None:
    # The command handles the signal itself; its Kafka accepts every record.
    program = """
import signal, sys, time, types
from pipeline.cli import send

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" makes it ignored

class Kafka:
    delivery_count = 0
    def __init__(self, *_): pass
    def put(self, _):
        self.delivery_count += 1
        if self.delivery_count == 3:
            print("sending", flush=True)
            time.sleep(60)
    def finish(self): pass

send.FilePublisher, send.open_codec = Kafka, lambda _: None
send.send_rows = lambda rows, reading, take, progress: [take(row) for row in rows]
rows = types.SimpleNamespace(size=9, rows=lambda: range(9))
settings = types.SimpleNamespace(kafka=lambda: {})
try:
    send._send(rows, None, settings, at_once=True)
except send.typer.Exit as end:
    sys.exit(end.exit_code)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "sending\n"
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "3 interactions are in Kafka" in message
    assert "Send the same file again" in message


def test_similar_identifiers_are_shown_distinguishably() -> None:
    assert plain(Identifier("cookie", "a\u202eb").key) == "cookie:a\\u202eb"
