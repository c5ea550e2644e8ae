"""`kairos adapter`: what delivers the actions of a kind of channel."""

from typing import Annotated

import typer

from pipeline.adapters import logs
from pipeline.delivery.channels import ADAPTER
from pipeline.delivery.process import Role
from pipeline.delivery.process import run as run_adapter
from pipeline.settings import Settings
from pipeline.stack.groups import adapter_group
from pipeline.stack.plan import adapter_name


def run(
    kind: Annotated[str, typer.Argument(help=f"The adapter, as in channels.yaml: {ADAPTER}.")],
    instance: Annotated[
        str, typer.Option(help="Tells processes of the same adapter apart; keeps its record.")
    ] = "0",
) -> None:
    """Deliver actions and report their outcomes until TERM."""
    if kind != ADAPTER:
        raise typer.BadParameter(f"{kind!r} is not an adapter; there is {ADAPTER}")
    settings = Settings()
    logs.set_up(settings)
    run_adapter(settings, Role(adapter_name(kind, instance), adapter_group(kind), instance))
