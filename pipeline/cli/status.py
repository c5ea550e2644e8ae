"""`kairos status`: every process of this home, and its lag."""

from collections.abc import Iterable
from typing import Annotated

import typer

from pipeline.adapters.consumer_groups import all_groups
from pipeline.adapters.lag import LagReader
from pipeline.cli.console import JsonOption, fail, out, print_json, print_table
from pipeline.home.applied_configuration import applied_configuration
from pipeline.model.budget import BudgetStatus
from pipeline.settings import Settings
from pipeline.stack.inspection import inspect
from pipeline.stack.status import ProcessStatus, StackStatus


def run(
    json: JsonOption = False,
    until_idle: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Wait until the stages and adapters have processed every input received so far; "
            "exit code 1 if that takes longer.",
        ),
    ] = None,
) -> None:
    """Show the processes with names, pids, ports, lag and state, the broker, the budgets and the
    configuration."""
    settings = Settings()
    if until_idle is not None:
        _wait_until_idle(settings, until_idle)
    if json:
        print_json(inspect(settings))
    elif until_idle is None:
        _print(inspect(settings))


def _wait_until_idle(settings: Settings, seconds: float) -> None:
    reader = LagReader(settings.kafka(), all_groups(applied_configuration(settings)))
    if not reader.wait_until_idle(seconds):
        backlog = ", ".join(f"{group} {lag}" for group, lag in reader.lag().items() if lag)
        fail(f"not idle within {seconds:g} s; still to do: {backlog or 'new input keeps coming'}")


def _print(status: StackStatus) -> None:
    broker = status.broker
    print_table(
        f"Kairos in {status.home}",
        ["process", "state", "pid", "ports", "lag"],
        [
            ["broker", broker.state, str(broker.pid or ""), broker.bootstrap or "", ""],
            *map(_row, status.processes),
        ],
    )
    if status.budgets:
        print_budgets(status.budgets)
    if status.problem:
        out.print(f"configuration unknown: {status.problem}", soft_wrap=True)
    else:
        out.print(f"configuration {status.configuration or 'none applied'}")


def print_budgets(budgets: Iterable[BudgetStatus]) -> None:
    """Print a table of budgets: what is spent, leased and free, and the shadow price."""
    print_table(
        "Budgets",
        ["campaign", "period", "budget", "spent", "leased", "free", "shadow price"],
        [
            (
                budget.name,
                budget.period,
                f"{budget.budget:,.2f}",
                f"{budget.spent:,.2f}",
                f"{budget.leased:,.2f}",
                f"{budget.free:,.2f}",
                f"{budget.price:.3g}",
            )
            for budget in budgets
        ],
    )


def _row(process: ProcessStatus) -> list[str]:
    restarts = f" (restarted {process.restarts}×)" if process.restarts else ""
    ports = ", ".join(f"{use} {port}" for use, port in process.ports.items())
    lag = "" if process.lag is None else str(process.lag)
    return [process.name, process.state + restarts, str(process.pid or ""), ports, lag]
