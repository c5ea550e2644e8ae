"""`kairos worker`: one or all of the four agents in this process."""

from typing import Annotated

import typer

from agents.main import run as run_agents
from pipeline.adapters.run_state import announce, withdraw
from pipeline.flow import STAGES
from pipeline.home import logs
from pipeline.settings import Settings
from pipeline.stack.partitions import with_existing_partitions
from pipeline.stack.plan import ALL, worker_name

_NAMES = tuple(stage.name for stage in STAGES)


def run(
    agent: Annotated[str, typer.Argument(help=f"Agent: {', '.join(_NAMES)}, or {ALL}.")],
    instance: Annotated[
        str,
        typer.Option(
            help="Name of this process among those of the agent; restarted under the same name, it "
            "finds its state."
        ),
    ] = "0",
) -> None:
    """Run an agent until TERM; the exit code is 0 after a clean stop."""
    if agent not in (*_NAMES, ALL):
        raise typer.BadParameter(f"{agent!r} is not one of {', '.join((*_NAMES, ALL))}")
    logs.configure(Settings())
    settings = with_existing_partitions(Settings())
    name = worker_name(agent, instance)
    announce(settings.home, name, "starting")
    code = run_agents(
        settings,
        _NAMES if agent == ALL else (agent,),
        instance,
        lambda ports: announce(settings.home, name, "ready", dict(ports)),
    )
    withdraw(settings.home, name)
    raise typer.Exit(code)
