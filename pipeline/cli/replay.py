"""`kairos replay`: a topic as Parquet."""

import re
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from pipeline.cli.console import JsonOption, err, out, print_json
from pipeline.cli.plain import plain
from pipeline.cli.times import epoch_ms
from pipeline.replay.manifest import Selection
from pipeline.replay.topics import ReplayReport, replay
from pipeline.settings import Settings

_OFFSETS: Final = re.compile(r"(\d{1,9}):(\d{1,18})-(\d{1,18})")


def run(
    topic: Annotated[str, typer.Option(help="Such as interactions, decisions or actions.email.")],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the files.")],
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="Only records of then or later (ISO 8601; UTC where it names no zone).",
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Only records before then.")
    ] = None,
    offsets: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PARTITION:FROM-TO",
            help="Only these offsets of a partition, TO not included; may be repeated.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write a topic as Parquet, for DuckDB and the like: DIR/day=YYYY-MM-DD/part-*.parquet.

    Each offset is written once, also when the command is killed and run again: the same command
    goes on where it was, and takes what was written to the topic meanwhile. Days and --from, --to
    go by the record's own time: when an interaction was received, a decision made, a profile
    updated.

    Fields are typed columns, nested records structs; what may have several types (properties,
    traits) is JSON text. kafka_partition, kafka_offset, kafka_at, kafka_key say where a record
    stands; kafka_tombstone marks deletions, kafka_error bytes that are no record.
    """
    selection = Selection(
        topic,
        None if since is None else epoch_ms(since),
        None if until is None else epoch_ms(until),
        _offsets(offsets) if offsets else None,
    )
    if selection.offsets and (since or until):
        raise typer.BadParameter("say either --offsets, or --from and --to")
    if since and until and epoch_ms(since) >= epoch_ms(until):
        raise typer.BadParameter(f"--from {since} is not before --to {until}")
    with _bar() as bar:
        task = bar.add_task("replaying", total=None)
        report = replay(
            Settings(),
            selection,
            folder,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    if json:
        print_json(report)
    else:
        _print(report, folder)


def _offsets(given: list[str]) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for text in given:
        parts = _OFFSETS.fullmatch(text)
        if parts is None:
            raise typer.BadParameter(f"{text!r} is not PARTITION:FROM-TO, such as 0:100-200")
        partition, first, last = map(int, parts.groups())
        if first >= last:
            raise typer.BadParameter(f"{text}: {first} is not before {last}")
        if partition in found:
            raise typer.BadParameter(f"{text}: partition {partition} is given twice")
        found[partition] = (first, last)
    return found


def _bar() -> Progress:
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=err, transient=True)


def _print(report: ReplayReport, folder: Path) -> None:
    for one in report.partitions:
        if one.deleted:
            what = f"partition {one.partition}: {one.deleted:,} offsets were deleted meanwhile"
            err.print(what, soft_wrap=True)
    if report.unreadable:
        err.print(f"{report.unreadable:,} are no records of the topic: see kafka_error")
    outside = f", {report.left_out:,} out of the time asked for" if report.left_out else ""
    out.print(
        plain(
            f"{report.records:,} records of {report.topic} in {report.files:,} files in {folder}"
            f"{outside}"
        ),
        soft_wrap=True,
    )
