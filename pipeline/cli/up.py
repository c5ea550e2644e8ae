"""`kairos up`: broker, topics, configuration, workers, gateway and adapters of this home."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.adapters.config_log import open_configuration_log
from pipeline.cli.console import JsonOption, err, out, print_json
from pipeline.cli.effect import RolloutResult, roll_out
from pipeline.home.codec import open_codec
from pipeline.settings import Settings
from pipeline.stack.control import StackError, start_stack


def run(
    config: Annotated[
        Path | None,
        typer.Option(
            help="Folder of configuration to apply first, for example deploy/demo; required until "
            "a configuration has been applied."
        ),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            help="Agent processes: `all` (one process with all four agents), `four` (one process "
            "for each), or the number of each kind: `all=2`, `identity=2,decisioning=2`. "
            "Default: KAIROS_WORKERS."
        ),
    ] = None,
    partitions: Annotated[
        int | None,
        typer.Option(min=1, help="Partitions of the topics to create. Default: KAIROS_PARTITIONS."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Start everything and wait until the pipeline answers; running processes are kept.

    A configuration that replaces another is then rolled out to every profile, as by `kairos config
    apply`.
    """
    settings = Settings()
    if partitions is not None:
        settings = settings.model_copy(update={"partitions": partitions})
    try:
        result = start_stack(settings, config, workers or settings.workers, _print_progress)
    except StackError as error:
        err.print(error.logs, soft_wrap=True)
        raise
    rollout = _roll_out(settings) if result.replaced else RolloutResult()
    if json:
        print_json({**asdict(result), **asdict(rollout)})
    elif result.changed:
        out.print(f"Kairos is up: {result.url}   (`kairos status`, `kairos down`)")
    else:
        out.print(f"Kairos is up already: {result.url}")
    if result.outdated_variables:
        _print_outdated(result.outdated_variables)


def _print_outdated(variables: Iterable[str]) -> None:
    err.print(
        f"The running processes still use other values of {', '.join(variables)}: `kairos down`, "
        "then `kairos up`, starts them with yours.",
        soft_wrap=True,
    )


def _roll_out(settings: Settings) -> RolloutResult:
    with open_configuration_log(settings.kafka(), open_codec(settings)) as log:
        return roll_out(settings, log, all_profiles=False)


def _print_progress(line: str) -> None:
    err.print(f"  {line}")
