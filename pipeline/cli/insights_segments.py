"""`kairos insights segments`: members, entries and exits, and lengths of stay."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import JsonOption, out, print_json, print_table
from pipeline.cli.insights_options import AsOfOption, EngineOption, MemoryOption, open_engine
from pipeline.cli.insights_topics import topic_folder
from pipeline.cli.times import optional_ms
from pipeline.insights.segment_moves import CHANGES, segment_moves
from pipeline.model.time import DAY_MS


def segments(
    topics: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with DIR/segments.changes as `kairos replay` writes it. Default: the "
            "topic itself.",
        ),
    ] = None,
    until: AsOfOption = None,
    engine: EngineOption = "duckdb",
    memory: MemoryOption = None,
    json: JsonOption = False,
) -> None:
    """Show members of segments, entries and exits by day, and how long customers stay."""
    with topic_folder(topics, (CHANGES,)) as folder, open_engine(engine, memory) as queries:
        moves = segment_moves(queries, folder, optional_ms(until))
    if json:
        print_json(moves)
        return
    print_table(
        "Segments",
        ["segment", "members", "entered", "exited", "last week in", "out", "median days in it"],
        [
            (
                move.segment,
                move.members,
                move.entered,
                move.exited,
                move.entered_last_week,
                move.exited_last_week,
                "" if move.median_stay_ms is None else f"{move.median_stay_ms / DAY_MS:,.2f}",
            )
            for move in moves
        ],
    )
    if not moves:
        out.print("Nobody entered a segment.")
