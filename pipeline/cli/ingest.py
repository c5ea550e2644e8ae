"""`kairos ingest`: files from watched folders and SFTP servers, to Kafka."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from pipeline.cli.console import JsonOption, fail, out, print_json
from pipeline.cli.plain import plain
from pipeline.cli.progress_bar import progress_bar
from pipeline.config.compile import Configuration
from pipeline.home import logs
from pipeline.ingest.opening import watchers
from pipeline.ingest.process import base_of, look_once
from pipeline.ingest.process import run as watch_on
from pipeline.ingest.taking import FileReport
from pipeline.ingest.taking import Progress as ShowProgress
from pipeline.settings import Settings
from pipeline.stack.configure import ensure_configuration


def run(
    once: Annotated[
        bool, typer.Option("--once", help="Process the files that are there, and exit.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Show the result for each file, without sending anything."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Take files from folders and SFTP servers, by ingest.yaml.

    A file is taken once it is complete, and moved to `done/` when Kafka has all of its good rows.
    Its bad rows are in NAME.rejected.csv beside it, and in the topic `dead-letters`. A file that
    cannot be read, or has too many bad rows, sends nothing; it is moved to `failed/`, with the
    reason in NAME.reason.txt. Without options it watches until SIGTERM; `kairos up` runs it in this
    way if the configuration has watches.

    With --once or --check the exit code is 1 if a file failed, or was only partly processed
    (`warning`).
    """
    settings = Settings()
    logs.configure(settings)
    if not once and not check:
        watch_on(settings)
        return
    configuration = ensure_configuration(settings)
    if not configuration.bundle.ingest.watches:
        fail("the configuration has no watches: name folders or SFTP servers in ingest.yaml")
    reports = _process_files(settings, configuration, check=check)
    if json:
        print_json(reports)
    else:
        _print(reports, "would be sent" if check else "sent")
    if any(report.state == "failed" or report.warning for report in reports):
        raise typer.Exit(1)


def _process_files(
    settings: Settings, configuration: Configuration, *, check: bool
) -> list[FileReport]:
    with _progress() as show:
        watches = watchers(configuration, base_of(settings, show), os.environ)
        if check:
            return [report for watch in watches for report in watch.check(configuration)]
        return list(look_once(watches, configuration))


@contextmanager
def _progress() -> Iterator[ShowProgress]:
    """Show a bar for each file, on a terminal."""
    with progress_bar() as bar:
        task = bar.add_task("looking", total=None)

        def show(name: str, count: int, total: int) -> None:
            bar.update(task, description=plain(name), completed=count, total=total)

        yield show


def _print(reports: list[FileReport], verb: str) -> None:
    for report in reports:
        out.print(
            f"{report.file}: {report.sent:,} {verb}, {report.rejected:,} rejected: {report.state}"
        )
        if report.reason:
            out.print(f"  {report.reason}")
    if not reports:
        out.print("No files.")
