"""`kairos backtest`: files through the stages, without Kafka."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from msgspec.structs import replace as with_fields
from rich.progress import Progress, TaskID

from pipeline.adapters.clock import now_ms
from pipeline.cli.console import JsonOption, err, out, print_json
from pipeline.cli.plain import plain
from pipeline.cli.policy_worth import estimate_worth_from_log, print_worth
from pipeline.cli.progress_bar import progress_bar
from pipeline.cli.refused_rows import print_refused
from pipeline.cli.sources import named_source
from pipeline.cli.status import print_budgets
from pipeline.cli.times import iso, optional_ms
from pipeline.config.model import Source
from pipeline.insights.campaign_facts import Period
from pipeline.insights.policy_slots import Replays
from pipeline.replay import backtest
from pipeline.replay.input_files import OpenFile, open_files
from pipeline.settings import Settings

_FILE_SOURCE = Source(
    name="file", channel="file", write_key="no key: nobody sends by it", clock="log"
)


_InputOption: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--input",
        metavar="FILE_OR_DIR",
        help="File that `kairos send` reads or that `kairos replay --topic interactions` "
        "wrote, or a folder of such files; files whose names begin with . or _ are "
        "skipped.",
    ),
]
_ConfigOption: TypeAlias = Annotated[
    Path, typer.Option("--config", metavar="DIR", help="Folder of configuration.")
]
_OutOption: TypeAlias = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder for the Parquet files.")
]
_UntilOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="End of the log (ISO 8601; UTC if no zone is given): timers due by then fire, "
        "later interactions are left out. Default: the last interaction.",
    ),
]
_LogOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Log of the actual decisions: DIR/decisions and DIR/interactions.segmented, each "
        "as `kairos replay` writes it. The worth of the configuration is estimated from "
        "it.",
    ),
]
_SourceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Source of the records, as for `kairos send`. Default: `file`."),
]


def run(  # noqa: PLR0913 - a command's options
    input_path: _InputOption,
    config: _ConfigOption,
    folder: _OutOption,
    until: _UntilOption = None,
    log: _LogOption = None,
    source: _SourceOption = None,
    json: JsonOption = False,
) -> None:
    """Play files through the stages with a configuration, without Kafka.

    The records are those that `kairos send` reads, played in order of time by the log's own clock,
    timers included: each arrives at its `received_at` or, without one, when it occurred; a record
    without a time is refused. Outcomes of messages that were not sent are left out.

    The output is decisions.parquet (a row for each slot), segments.parquet (entries and exits) and
    actions.parquet and, as of the end of the log, profiles.parquet, identifiers.parquet and
    memberships.parquet in the form of `kairos profile export`. Equal decisions have the same
    decision hash. Rows that cannot be read are reported as FILE:LINE, and the exit code is then 1.

    With --log the worth of the configuration is estimated from randomised choices (`learning`) and
    their outcomes.
    """
    settings = Settings()
    end_ms = optional_ms(until)
    files = open_files(input_path, settings.gateway_message_bytes)
    rules = replace(backtest.load_folder_rules(config, settings), with_chances=log is not None)
    input_source = named_source(rules.config, source) or _FILE_SOURCE
    inputs = backtest.BacktestInput(
        files, input_source, end_ms, settings.gateway_message_bytes, now_ms()
    )
    with progress_bar() as bar:
        report = backtest.backtest(inputs, rules, folder, _progress(bar))
    if log is not None:
        decisions_file, period = folder / "decisions.parquet", Period(None, end_ms)
        worth = estimate_worth_from_log(
            log, Replays(decisions_file), rules.config.bundle.campaigns, period
        )
        report = with_fields(report, worth=worth)
    if json:
        print_json(report)
    else:
        _print(report, folder)
    if report.refused or any(file.stopped for file in report.files):
        raise typer.Exit(1)


def _progress(bar: Progress) -> backtest.BacktestProgress:
    tasks: dict[str, TaskID] = {}

    def show(name: str, count: int, total: int) -> None:
        if name not in tasks:
            tasks[name] = bar.add_task(plain(name), total=total)
        bar.update(tasks[name], completed=count)

    def read(file: OpenFile, count: int) -> None:
        show(f"reading {file.path.name}", count, file.rows.size)

    return backtest.BacktestProgress(read, lambda count, total: show("playing", count, total))


def _print(report: backtest.BacktestReport, folder: Path) -> None:
    for file in report.files:
        print_refused(file.file, file)
    for letters in report.dead_letters:
        err.print(plain(f"{letters.stage}: {letters.reason}: {letters.count:,} records"))
    out.print(
        f"{report.interactions:,} interactions until {iso(report.until)}, {report.refused:,} rows "
        f"refused, {report.after_until:,} after the end, {report.outcomes_left_out:,} outcomes of "
        "messages that were not sent left out\n"
        f"{report.decisions:,} decisions, {report.actions:,} actions, {report.segments:,} segment "
        f"changes, {report.profiles:,} profiles, {report.identifiers:,} identifiers, "
        f"{report.memberships:,} memberships in {folder}\n"
        f"configuration {report.config}\n"
        f"decisions {report.decision_hash}",
        soft_wrap=True,
    )
    if report.short:
        out.print(
            f"{report.short:,} decisions lacked budget or stock for a candidate; live ones may "
            "differ, since each partition spends only its own lease",
            soft_wrap=True,
        )
    if report.budgets:
        print_budgets(report.budgets)
    if report.worth is not None:
        print_worth(report.worth)
