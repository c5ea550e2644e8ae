"""`kairos broker`: the embedded Kafka of this home."""

import typer

from pipeline.adapters.broker import BrokerFailure, RunningBroker
from pipeline.cli.console import JsonOption, fail, out, print_json
from pipeline.settings import Settings

app = typer.Typer()


@app.command()
def start(json: JsonOption = False) -> None:
    """Start the broker; if it is running, only print its address."""
    settings = Settings()
    if _report_existing_cluster(settings, json):
        return
    result = settings.broker().start()
    if isinstance(result, BrokerFailure):
        fail(result.message)
    _show("running", result, json)


@app.command()
def stop(json: JsonOption = False) -> None:
    """Stop the broker, and keep its data."""
    settings = Settings()
    if _report_existing_cluster(settings, json):
        return
    _show("stopped", settings.broker().stop(), json)


@app.command()
def status(json: JsonOption = False) -> None:
    """Report whether the broker is running, and its address."""
    settings = Settings()
    if _report_existing_cluster(settings, json):
        return
    broker = settings.broker().status()
    _show("running" if broker else "stopped", broker, json)


def _report_existing_cluster(settings: Settings, json: bool) -> bool:
    """Report an existing cluster, and return whether the settings name one."""
    if settings.bootstrap_servers is None:
        return False
    if json:
        print_json({"state": "external", "bootstrap": settings.bootstrap_servers})
    else:
        out.print(
            f"Using the existing cluster at {settings.bootstrap_servers} "
            "(KAIROS_BOOTSTRAP_SERVERS); there is no embedded broker to start or stop."
        )
    return True


def _show(state: str, broker: RunningBroker | None, json: bool) -> None:
    if json:
        print_json(
            {
                "state": state,
                "bootstrap": broker.bootstrap if broker else None,
                "pid": broker.pid if broker else None,
                "port": broker.port if broker else None,
            }
        )
    elif broker is None:
        out.print("No broker is running.")
    else:
        out.print(f"Broker {state}: {broker.bootstrap} (pid {broker.pid})")
