"""The subcommands of `kairos bench`."""

from typing import Annotated

import typer

from pipeline.cli.console import JsonOption, err, out, print_json
from tests.benchmarks import latency as latencies
from tests.benchmarks.machine import this_machine
from tests.benchmarks.report import latency_table
from tests.benchmarks.rig import open_rig
from tests.benchmarks.systems import ABOUT, Choice

app = typer.Typer()

_ALL = "floor,faust,quix,trivial,trivial:4,demo,demo:4,large,large:4"

SystemsOption = Annotated[
    str,
    typer.Option(
        help="Which, separated by commas; `:4` in four processes. "
        + "; ".join(f"{name}: {what}" for name, what in ABOUT.items())
    ),
]
PartitionsOption = Annotated[int, typer.Option(min=1, help="Partitions of every topic.")]
RepeatsOption = Annotated[int, typer.Option(min=1, help="How often everything is measured.")]


@app.command()
def latency(
    systems: SystemsOption = _ALL,
    rates: Annotated[str, typer.Option(help="Events a second, rising.")] = "100,300,600,1000",
    seconds: Annotated[float, typer.Option(min=1, help="For each rate.")] = 10.0,
    repeats: RepeatsOption = 3,
    partitions: PartitionsOption = 1,
    json: JsonOption = False,
) -> None:
    """Open-loop latency of systems side by side; for Kairos, interaction to action."""
    machine = this_machine()
    plan = latencies.Plan(_choices(systems), _numbers(rates), seconds, repeats)
    with open_rig(partitions) as rig:
        figures = latencies.measure(rig, plan, _say)
    if json:
        print_json({"machine": machine, "plan": plan, "partitions": partitions, "latency": figures})
    else:
        out.print(latency_table(figures))
        out.print(f"{repeats} × {seconds:g} s, {partitions} partition(s). {machine}")


def _choices(systems: str) -> list[Choice]:
    try:
        return [Choice.parse(name.strip()) for name in systems.split(",")]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _numbers(rates: str) -> list[int]:
    try:
        return sorted(int(rate) for rate in rates.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{rates!r}: say numbers, such as 100,300") from error


def _say(line: str) -> None:
    err.print(f"  {line}", markup=False)
