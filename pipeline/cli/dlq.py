"""`kairos dlq`: dead letters, with their reasons.

A dead letter's ID is its position in the topic: PARTITION-OFFSET.
"""

from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text

from pipeline.adapters.avro import MalformedRecord
from pipeline.adapters.snapshots import StoredRecord
from pipeline.cli.console import JsonOption, fail, out, print_json, print_table
from pipeline.cli.plain import plain_json
from pipeline.cli.times import iso
from pipeline.home.codec import open_codec
from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.settings import Settings

app = typer.Typer()


@app.command("list")
def list_letters(
    stage: Annotated[str | None, typer.Option(help="Only dead letters of this stage.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only dead letters with this reason.")] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Maximum number of dead letters: the latest ones.")
    ] = 100,
    json: JsonOption = False,
) -> None:
    """List dead letters, the oldest first."""
    letters = [
        {
            "id": _id(stored_record),
            "at": iso(letter.at),
            "stage": letter.stage,
            "reason": letter.reason,
            "topic": letter.topic,
            "key": _text(letter.key),
            "detail": letter.detail,
        }
        for stored_record, letter in _records().read_all(topics.DEAD_LETTERS, DeadLetterRecord)
        if stage in (None, letter.stage) and reason in (None, letter.reason)
    ]
    if json:
        print_json(letters[-limit:])
    elif not letters:
        out.print("No dead letters.")
    else:
        print_table(
            f"Dead letters ({len(letters)})",
            list(letters[0]),
            [list(letter.values()) for letter in letters[-limit:]],
        )


@app.command()
def show(
    letter_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="ID of the dead letter, as `kairos dlq list` shows it."),
    ],
    json: JsonOption = False,
) -> None:
    """Show one dead letter in full, with the original record decoded if possible."""
    matches = _records().read_all(
        topics.DEAD_LETTERS, DeadLetterRecord, lambda stored_record: _id(stored_record) == letter_id
    )
    dead_letter = next((letter for _, letter in matches), None)
    if dead_letter is None:
        fail(f"there is no dead letter {letter_id}: `kairos dlq list` shows them")
    entry = {
        "id": letter_id,
        "stage": dead_letter.stage,
        "reason": dead_letter.reason,
        "detail": dead_letter.detail,
        "at": iso(dead_letter.at),
        "topic": dead_letter.topic,
        "partition": dead_letter.partition,
        "offset": dead_letter.offset,
        "key": _text(dead_letter.key),
        "headers": {name: _text(value) for name, value in dead_letter.headers.items()},
        "value": _original(dead_letter),
    }
    if json:
        print_json(entry)
        return
    for name, value in entry.items():
        out.print(Text(f"{name:10}", style="bold"), end="")
        out.print(_format_value(value))


def _records() -> Records:
    return Records(Settings(), open_codec(Settings()))


def _id(stored_record: StoredRecord) -> str:
    return f"{stored_record.partition}-{stored_record.offset}"


def _original(letter: DeadLetterRecord) -> Any:
    """Return the decoded record; else its bytes as JSON, as a text, or in hexadecimal."""
    if letter.value is None:
        return None
    record = open_codec(Settings()).decode(letter.topic, letter.value)
    if not isinstance(record, MalformedRecord):
        return msgspec.to_builtins(record)
    try:
        return msgspec.json.decode(letter.value)
    except (msgspec.DecodeError, RecursionError):
        return _text(letter.value)


def _text(data: bytes | None) -> str | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.hex()


def _format_value(value: Any) -> str:
    if isinstance(value, str):
        return value
    return plain_json(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
