"""`kairos simulate`: synthetic worlds with known truth."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from pipeline.cli.console import JsonOption, err, out, print_json
from pipeline.simulate.customers import MOST_CUSTOMERS
from pipeline.simulate.diary import MOST_DAYS
from pipeline.simulate.files import NAMES, Written, write
from pipeline.simulate.world import WorldSize

app = typer.Typer()


@app.callback()
def worlds() -> None:
    """Synthetic worlds: nothing in them is real."""


@app.command()
def bank(
    customers: Annotated[int, typer.Option(min=1, max=MOST_CUSTOMERS, help="How many people.")],
    days: Annotated[int, typer.Option(min=1, max=MOST_DAYS, help="How long they are followed.")],
    folder: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help=f"Write {', '.join(NAMES)} into this folder."),
    ],
    seed: Annotated[int, typer.Option(min=0, help="Chooses everything about them.")] = 7,
    json: JsonOption = False,
) -> None:
    """Make a synthetic bank whose truth is known.

    Customers with several devices browse, log in, open accounts, pay, complain, have their credit
    checked, fall silent and recommend friends. They react to messages with known probabilities of
    a click and of a conversion, and with known causal effects. All of it is made up.

    With --out the world sends messages by a randomised policy of its own, whose propensities it
    logs; call-centre agents, though, call those who would buy anyway. The same seed writes the
    same bytes. What each file holds: pipeline/simulate/README.md.
    """
    written = _write(WorldSize(customers, days, seed), folder)
    if json:
        print_json(written)
    else:
        _print_written(written)


def _write(size: WorldSize, folder: Path) -> Written:
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task("customers", total=size.customers)
        return write(size, folder, lambda done: bar.update(task, completed=done))


def _print_written(written: Written) -> None:
    out.print(
        f"A synthetic bank in {written.folder}: {written.interactions:,} interactions of "
        f"{written.persons:,} persons, {written.policy_rows:,} logged decisions "
        f"({', '.join(NAMES)})",
        soft_wrap=True,
    )
