"""`kairos simulate`: synthetic worlds with known truth."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import JsonOption, out, print_json, print_table
from pipeline.cli.progress_bar import progress_bar
from pipeline.settings import Settings
from pipeline.simulate.audience import PlayReport
from pipeline.simulate.customers import MAX_CUSTOMERS
from pipeline.simulate.diary import MAX_DAYS
from pipeline.simulate.files import NAMES, WrittenFiles, write
from pipeline.simulate.live import LiveOptions, play
from pipeline.simulate.world import WorldSize

app = typer.Typer()


@app.callback()
def worlds() -> None:
    """Make synthetic worlds: nothing in them is real."""


@app.command()
def bank(  # noqa: PLR0913 - one for each option
    customers: Annotated[int, typer.Option(min=1, max=MAX_CUSTOMERS, help="Number of customers.")],
    days: Annotated[int, typer.Option(min=1, max=MAX_DAYS, help="Number of days.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random choices.")] = 7,
    folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help=f"Write {', '.join(NAMES)} into this folder."),
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Send the events to this home's stack, which must run deploy/bank."
        ),
    ] = False,
    rate: Annotated[
        float, typer.Option(min=0.1, help="With --live: interactions per second.")
    ] = 50.0,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=1, help="With --live: stop after this time. Default: play the whole world."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a synthetic bank with known effects.

    Customers with several devices browse, log in, open accounts, pay, complain, have their credit
    checked, fall silent and recommend friends. They react to messages with known probabilities of a
    click and of a conversion, and with known causal effects. Everything is made up.

    With --out the world sends messages by a randomised policy of its own, whose propensities it
    logs; call-centre agents, though, call those who would buy anyway. The same seed writes the
    same bytes. pipeline/simulate/README.md describes each file.

    With --live the stack decides (`kairos up --config deploy/bank` first): events are sent to the
    gateway one after the other at --rate, and customers react to the actions that they get.
    """
    if (folder is None) != live:
        raise typer.BadParameter("give either --out DIR or --live", param_hint="--out")
    size = WorldSize(customers, days, seed)
    report = _play(size, rate, seconds) if folder is None else _write(size, folder)
    if json:
        print_json(report)
    elif isinstance(report, PlayReport):
        _print_play(report)
    else:
        _print_files(report)


def _write(size: WorldSize, folder: Path) -> WrittenFiles:
    with progress_bar() as bar:
        task = bar.add_task("customers", total=size.customers)
        return write(size, folder, lambda count: bar.update(task, completed=count))


def _print_files(files: WrittenFiles) -> None:
    out.print(
        f"A synthetic bank in {files.folder}: {files.interactions:,} interactions of "
        f"{files.persons:,} persons, {files.policy_rows:,} logged decisions "
        f"({', '.join(NAMES)})",
        soft_wrap=True,
    )


def _play(size: WorldSize, rate: float, seconds: float | None) -> PlayReport:
    with progress_bar() as bar:
        task = bar.add_task("preparing", total=None)

        def show(count: int, total: int) -> None:
            bar.update(task, description="interactions", completed=count, total=total)

        return play(Settings(), size, LiveOptions(rate, seconds, show))


def _print_play(report: PlayReport) -> None:
    kinds = ("impression", "click", "dismiss", "conversion")
    rows = [
        [label, count, *(report.outcomes[label][kind] for kind in kinds)]
        for label, count in sorted(report.actions.items())
    ]
    print_table("Actions and simulated reactions", ["offer/channel", "actions", *kinds], rows)
    if report.treatments:
        evidence = [
            [
                treatment.campaign,
                treatment.treatment,
                treatment.trials,
                treatment.successes,
                f"{treatment.rate:.1%}",
            ]
            for treatment in report.treatments
        ]
        columns = ["campaign", "treatment", "messages", "reached the goal", "share"]
        print_table("Evidence so far", columns, evidence)
    part = "the whole world" if report.finished else "a part of the world"
    out.print(
        f"A synthetic bank, {part}: {report.events:,} interactions sent to {report.url}, "
        f"{report.requests:,} asked for an answer, {report.defaults:,} answered by default, "
        f"{report.failures:,} failed",
        soft_wrap=True,
    )
