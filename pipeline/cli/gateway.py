"""`kairos gateway`: the HTTP API."""

from typing import Annotated

import typer

from pipeline.gateway.server import run as run_gateway
from pipeline.home import logs
from pipeline.settings import Settings


def run(
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on; 0: any free port. Default: KAIROS_GATEWAY_PORT."),
    ] = None,
    instance: Annotated[
        str, typer.Option(help="Name of this gateway process, to which replies are addressed.")
    ] = "gateway",
) -> None:
    """Serve HTTP until TERM; requests in flight are finished first."""
    settings = Settings()
    logs.configure(settings)
    if port is not None:
        settings = settings.model_copy(update={"gateway_port": port})
    raise typer.Exit(run_gateway(settings, instance))
