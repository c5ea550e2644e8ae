"""Printing for commands: tables and lines for people, one JSON document for programs."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, NoReturn

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.plain import plain, plain_json, plain_lines

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


class PlainConsole(Console):
    """Console that prints texts unchanged: no markup, no emoji codes, no terminal codes.

    Bold or coloured output is a `Text`, made of `plain` texts.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(plain_lines(text), **options)


out: Final = PlainConsole()
err: Final = PlainConsole(stderr=True)


def print_json(value: Any) -> None:
    """Print `value`, anything that msgspec encodes (records, dataclasses, dicts, lists)."""
    print(plain_json(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table, numbers aligned right, followed by an empty line."""
    rows = list(rows)
    table = Table(
        title=plain(title),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for index, column in enumerate(columns):
        is_numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(column, justify="right" if is_numeric else "left")
    for row in rows:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else plain(str(cell)) for cell in row))
    out.print(table)
    out.print()


def print_error(message: str) -> None:
    """Print one line on stderr."""
    err.print(f"kairos: {plain(message)}", style="red", soft_wrap=True)


def fail(message: str) -> NoReturn:
    """Print `message` on stderr, and end the command with exit code 1."""
    print_error(message)
    raise typer.Exit(1)
