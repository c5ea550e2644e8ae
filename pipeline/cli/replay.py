"""`kairos replay`: a topic as Parquet, or decided on with another configuration."""

import re
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer
from msgspec.structs import replace
from rich.progress import MofNCompleteColumn, TimeRemainingColumn

from pipeline.adapters.clock import now_ms
from pipeline.cli.console import JsonOption, err, out, print_json, print_table
from pipeline.cli.plain import plain
from pipeline.cli.policy_worth import estimate_worth_from_log, print_worth
from pipeline.cli.progress_bar import progress_bar
from pipeline.cli.times import optional_ms
from pipeline.home.load_rules import load_rules
from pipeline.home.records import Records
from pipeline.insights.campaign_facts import Period
from pipeline.insights.policy_slots import Replays
from pipeline.insights.policy_worth import PolicyWorth
from pipeline.insights.tables import TableError
from pipeline.replay.backtest import load_folder_rules
from pipeline.replay.live_decisions import LiveComparison
from pipeline.replay.manifest import Selection
from pipeline.replay.topics import ReplayReport, replay
from pipeline.replay.what_if import AFTER, BEFORE, TimeRange, WhatIfReport, compare_configurations
from pipeline.rules import Rules
from pipeline.settings import Settings
from pipeline.stack.configure import ensure_configuration

_OFFSETS: Final = re.compile(r"(\d{1,9}):(\d{1,18})-(\d{1,18})")


_OutOption: TypeAlias = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder for the files.")
]
_TopicOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Topic to write, such as interactions, decisions or actions.email."),
]
_WhatIfOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--what-if",
        metavar="DIR",
        help="Decide on the interactions with this configuration and with the one in force.",
    ),
]
_FromOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TIME",
        help="Start of the range, inclusive (ISO 8601; UTC if no zone is given).",
    ),
]
_ToOption: TypeAlias = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="End of the range, exclusive.")
]
_OffsetsOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PARTITION:FROM-TO",
        help="Only these offsets of a partition, TO exclusive; may be repeated.",
    ),
]


def run(  # noqa: PLR0913 - one for each option
    folder: _OutOption,
    topic: _TopicOption = None,
    other_folder: _WhatIfOption = None,
    since: _FromOption = None,
    until: _ToOption = None,
    offsets: _OffsetsOption = None,
    json: JsonOption = False,
) -> None:
    """Write a topic as Parquet, for DuckDB and the like: DIR/day=YYYY-MM-DD/part-*.parquet.

    Each offset is written once, even if the command is killed and run again: the same command
    resumes, and adds the records that the topic has received meanwhile. Days and --from, --to use
    the record's own time: when an interaction was received, a decision made, a profile updated.

    Fields are typed columns, nested records structs; fields with several types (properties, traits)
    are JSON text. kafka_partition, kafka_offset, kafka_at, kafka_key give a record's position;
    kafka_tombstone marks deletions, kafka_error bytes that cannot be decoded.

    With --what-if all interactions of the topic are decided on again, without writing to any topic:
    with the configuration in force, and with the other one. Decisions between --from and --to are
    compared by offer, channel and segment, and are written to DIR/before and DIR/after in the form
    of `kairos backtest`. Outcomes of messages that a configuration does not send are left out.
    Where choices were randomised (`learning`), the worth of the other configuration is estimated
    from the actual decisions and their outcomes. A replay spends each budget and stock as a whole,
    whereas live partitions spend leases of it: where one ran short, the number of decisions of the
    configuration in force that differ from the live ones is printed.
    """
    start_ms = optional_ms(since)
    end_ms = optional_ms(until)
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise typer.BadParameter(f"--from {since} is not before --to {until}")
    if (topic is None) == (other_folder is None):
        raise typer.BadParameter("give either --topic or --what-if")
    if offsets and (since or until or other_folder):
        raise typer.BadParameter("--offsets goes with --topic, without --from and --to")
    if other_folder is not None:
        time_range = TimeRange(start_ms, now_ms() if end_ms is None else end_ms)
        _compare(other_folder, time_range, folder, json)
    else:
        offset_ranges = _offsets(offsets) if offsets else None
        _replay(Selection(topic or "", start_ms, end_ms, offset_ranges), folder, json)


def _replay(selection: Selection, folder: Path, json: bool) -> None:
    with progress_bar(MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("replaying", total=None)
        report = replay(
            Settings(),
            selection,
            folder,
            lambda count, total: bar.update(task, completed=count, total=total),
        )
    if json:
        print_json(report)
    else:
        _print(report, folder)


def _compare(other_folder: Path, time_range: TimeRange, folder: Path, json: bool) -> None:
    settings = Settings()
    current_rules = load_rules(ensure_configuration(settings), settings)
    other_rules = load_folder_rules(other_folder, settings)
    with progress_bar() as bar:
        task = bar.add_task("deciding", total=None)
        records = Records.of(settings)
        report = compare_configurations(
            records,
            current_rules,
            other_rules,
            time_range,
            folder,
            lambda count: bar.update(task, completed=count),
        )
    report = replace(report, worth=_estimate_worth(other_rules, folder, time_range))
    if json:
        print_json(report)
    else:
        _print_what_if(report, folder)


def _estimate_worth(other_rules: Rules, folder: Path, time_range: TimeRange) -> PolicyWorth | None:
    """Estimate the worth of the other configuration; None, after a message, if that fails."""
    current_file, other_file = (folder / side / "decisions.parquet" for side in (BEFORE, AFTER))
    period = Period(time_range.since, time_range.until)
    try:
        return estimate_worth_from_log(
            None, Replays(other_file, current_file), other_rules.config.bundle.campaigns, period
        )
    except TableError as error:
        err.print(plain(f"The worth is not known: {error}"), soft_wrap=True)
        return None


def _print_what_if(report: WhatIfReport, folder: Path) -> None:
    for title, rows in (
        ("Offers", report.offers),
        ("Channels", report.channels),
        ("Segments", report.segments),
    ):
        columns = ["name", "messages before", "after"]
        print_table(title, columns, [[row.name, row.before, row.after] for row in rows])
    for name, side in ((BEFORE, report.before), (AFTER, report.after)):
        out.print(
            f"{name:6} {side.decisions:,} decisions, {side.actions:,} messages, "
            f"{side.outcomes_left_out:,} outcomes left out, configuration {side.config}, "
            f"decisions {side.decision_hash}",
            soft_wrap=True,
        )
    if report.live is not None:
        _print_live(report.live)
    comparison = "all the same" if report.identical else f"{report.changed_slots:,} slots changed"
    out.print(
        plain(f"{report.interactions:,} interactions: {comparison}; see {folder}"), soft_wrap=True
    )
    if report.worth is not None:
        print_worth(report.worth)


def _print_live(comparison: LiveComparison) -> None:
    out.print(
        f"live   {comparison.decisions:,} of these decisions were made by the configuration in "
        f"force, {comparison.changed:,} with other messages; in {comparison.by_budgets:,} of "
        "these, the amount or price of a budget differed, since live partitions spend only their "
        "own leases, and a replay the whole budget",
        soft_wrap=True,
    )


def _offsets(ranges: list[str]) -> dict[int, tuple[int, int]]:
    ranges_by_partition: dict[int, tuple[int, int]] = {}
    for text in ranges:
        parts = _OFFSETS.fullmatch(text)
        if parts is None:
            raise typer.BadParameter(f"{text!r} is not PARTITION:FROM-TO, such as 0:100-200")
        partition, start, end = map(int, parts.groups())
        if start >= end:
            raise typer.BadParameter(f"{text}: {start} is not before {end}")
        if partition in ranges_by_partition:
            raise typer.BadParameter(f"{text}: partition {partition} is given twice")
        ranges_by_partition[partition] = (start, end)
    return ranges_by_partition


def _print(report: ReplayReport, folder: Path) -> None:
    for partition in report.partitions:
        if partition.deleted:
            warning = f"{partition.deleted:,} offsets were deleted meanwhile"
            err.print(f"partition {partition.partition}: {warning}", soft_wrap=True)
    if report.unreadable:
        err.print(f"{report.unreadable:,} are no records of the topic: see kafka_error")
    left_out_note = f", {report.left_out:,} out of the time asked for" if report.left_out else ""
    out.print(
        plain(
            f"{report.records:,} records of {report.topic} in {report.files:,} files in {folder}"
            f"{left_out_note}"
        ),
        soft_wrap=True,
    )
