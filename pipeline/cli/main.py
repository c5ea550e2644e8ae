"""Command `kairos`: one module of this package per command, imported when it is called."""

import inspect
import logging
import os
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Final, NoReturn

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.adapters.private_files import restrict_new_files
from pipeline.cli.console import print_error

COMMANDS: Final = {
    "demo": "Play an e-commerce log through the whole stack.",
    "up": "Start everything and wait until it answers.",
    "down": "Stop everything.",
    "status": "Show every process with its state and lag.",
    "doctor": "Check the installation, and show remedies for faults.",
    "config": "Check, apply and list configurations.",
    "broker": "Start, stop or inspect the embedded Kafka broker.",
    "send": "Send a file of interactions straight to Kafka.",
    "ingest": "Import files from folders and SFTP servers.",
    "explain": "Explain a decision.",
    "preview": "Decide for a customer without writing anything.",
    "replay": "Write a topic as Parquet, or decide again with another configuration.",
    "backtest": "Play files through the stages without Kafka.",
    "train": "Train models from replayed topics.",
    "models": "List trained models, and put them into force.",
    "simulate": "Make a synthetic world with known effects.",
    "profile": "Show a customer, or export all of them.",
    "desk": "Work on messages that people deliver, such as calls.",
    "dlq": "List records that could not be processed.",
    "gateway": "Serve the HTTP API.",
    "worker": "Run one or all of the agents.",
    "adapter": "Deliver the actions of a kind of channel.",
    "learner": "Learn from the outcomes of messages.",
    "insights": "Analyse campaigns, journeys and channels, from tables of events.",
    "bench": "Measure latency, throughput and stages, and compare them with peers.",
}
"""Commands (module name with - for _) with their descriptions. A module has either `run`, the
command's function, or `app`, a typer.Typer of subcommands."""

_DEBUG: Final = "--debug"


def main() -> NoReturn:
    """Run a command; exit code 0, 1 for an error (one line on stderr), 2 for a usage error.

    The interpreter is not finalised: Kafka's client threads that call into it meanwhile have killed
    finished commands by a signal.
    """
    restrict_new_files()
    code = _run(sys.argv[1:])
    logging.shutdown()
    with suppress(OSError):  # the reader has closed the pipe
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _run(arguments: list[str]) -> int:
    try:
        build_app(_command_in(arguments))()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except Exception as error:
        if _DEBUG in arguments:
            traceback.print_exc()
        else:
            print_error(_one_line(error))
        return 1
    return 0


def _one_line(error: Exception) -> str:
    if isinstance(error, ExceptionGroup):
        return _one_line(error.exceptions[0])
    message = str(error)
    if isinstance(error, ValidationError) and error.title == "Settings":
        message = _setting_error(error.errors(include_url=False)[0])
    return " ".join(message.split()) or type(error).__name__


def _setting_error(details: ErrorDetails) -> str:
    if details["type"] == "value_error":  # from Settings, whose messages name the variable
        return str(details["ctx"]["error"])
    return f"KAIROS_{'_'.join(map(str, details['loc'])).upper()}: {details['msg']}"


def build_app(command: str | None) -> typer.Typer:
    """Return the application with one command imported; the others have only a name, for the
    help."""
    app = typer.Typer(
        name="kairos",
        help="Open real-time interaction management on Kafka.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for name, summary in COMMANDS.items():
        if name == command:
            _add(app, name, summary)
        else:
            app.command(name, help=summary)(_placeholder)
    return app


def _add(app: typer.Typer, name: str, summary: str) -> None:
    module = import_module(f"pipeline.cli.{name.replace('-', '_')}")
    if hasattr(module, "app"):
        app.add_typer(module.app, name=name, help=summary, no_args_is_help=True)
    else:
        _, _, details = (inspect.getdoc(module.run) or "").partition("\n\n")
        app.command(name, help=f"{summary}\n\n{details}".strip())(module.run)


def _command_in(arguments: list[str]) -> str | None:
    return next((argument for argument in arguments if not argument.startswith("-")), None)


def _root(
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show the traceback of an error.")] = False,
) -> None:
    """Declare options before the command; `main` reads --debug."""


def _placeholder() -> None:
    raise AssertionError("only the command that was called is imported, and only that one runs")
