"""`kairos adapter`: delivery of the actions of a kind of channel."""

import asyncio
from typing import Annotated, Final

import typer

from pipeline.adapters.consumer_groups import adapter_group
from pipeline.delivery.adapters import ADAPTERS
from pipeline.delivery.process import Role
from pipeline.delivery.process import run as run_adapter
from pipeline.delivery.trials import TRIALS
from pipeline.home import logs
from pipeline.settings import Settings
from pipeline.stack.plan import adapter_name

_KINDS: Final = ", ".join(ADAPTERS)


def run(
    kind: Annotated[str, typer.Argument(help=f"Adapter, as in channels.yaml: {_KINDS}.")],
    instance: Annotated[
        str,
        typer.Option(
            help="Name of this process among those of its adapter; each has its own ledger."
        ),
    ] = "0",
    trial_address: Annotated[
        str | None,
        typer.Option(
            "--try",
            metavar="ADDRESS",
            help="Only send a test message to this address, and show the result.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="With --try: server to send by. Default: one on this machine."
        ),
    ] = None,
) -> None:
    """Deliver actions and report their outcomes until TERM."""
    if kind not in ADAPTERS:
        message = f"{kind!r} is not an adapter; there is {_KINDS} (calls are tasks: `kairos desk`)"
        raise typer.BadParameter(message)
    settings = Settings()
    if trial_address is not None:
        if kind not in TRIALS:
            raise typer.BadParameter(f"there is no trial of {kind!r}", param_hint="--try")
        typer.echo(asyncio.run(TRIALS[kind](trial_address, server, settings.signing_secret())))
        return
    logs.configure(settings)
    run_adapter(settings, Role(kind, adapter_name(kind, instance), adapter_group(kind), instance))
