"""`kairos insights decisions`: factors of decisions, from the topic `decisions`."""

from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from pipeline.cli.console import JsonOption, out, print_json, print_table
from pipeline.cli.insights_options import EngineOption, MemoryOption, open_engine, require_choice
from pipeline.cli.plain import plain
from pipeline.cli.times import optional_ms
from pipeline.insights.decision_log import (
    GROUPINGS,
    DecisionLogOptions,
    load_decisions,
)
from pipeline.insights.decision_sensitivity import DecisionGroup, decision_groups

_MAX_ROWS: Final = 20


_TopicsOption: TypeAlias = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        help="Folder with DIR/decisions as `kairos replay` writes it; for --by segment also "
        "DIR/interactions.segmented. With Spark also tables:NAMESPACE: a catalog's "
        "tables, as Iceberg's sink writes them.",
    ),
]
_ByOption: TypeAlias = Annotated[str, typer.Option(help=f"Grouping: {', '.join(GROUPINGS)}.")]
_FromOption: TypeAlias = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Start of the range, inclusive.")
]
_ToOption: TypeAlias = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="End of the range, exclusive.")
]


def decisions(  # noqa: PLR0913 - a command's options
    topics: _TopicsOption,
    by: _ByOption = "all",
    since: _FromOption = None,
    until: _ToOption = None,
    engine: EngineOption = "duckdb",
    memory: MemoryOption = None,
    json: JsonOption = False,
) -> None:
    """Show the factors of decisions: how often each changes the winner, which offers lose to which,
    how many candidates each rule leaves, and which treatments never win."""
    options = DecisionLogOptions(
        require_choice("--by", by, GROUPINGS),
        optional_ms(since),
        optional_ms(until),
    )
    with open_engine(engine, memory) as queries:
        load_decisions(queries, topics, options)
        groups = decision_groups(queries)
    if json:
        print_json({"by": by, "groups": groups})
        return
    for group in groups:
        _print(group)
    if not groups:
        out.print("There is no decision with competing candidates.")


def _print(group: DecisionGroup) -> None:
    out.print(
        plain(
            f"{group.group}: {group.decisions:,} decisions for {group.customers:,} customers, "
            f"{group.candidates:,} candidates, {group.chosen:,} chosen"
        )
    )
    print_table(
        "Contests that another treatment would win without the factor",
        ["factor", "contests", "changed", "share"],
        [
            (entry.factor, entry.contests, entry.changed, f"{entry.share:.1%}")
            for entry in group.sensitivity
        ],
    )
    print_table(
        "Winners and losers",
        ["offer", "to", "times"],
        [(loss.offer, loss.to, loss.times) for loss in group.losses[:_MAX_ROWS]],
    )
    _print_rules(group)
    print_table(
        "Never won",
        ["treatment", "offer", "considered", "candidate", "mostly", "times"],
        [
            (
                treatment.treatment,
                treatment.offer or "",
                treatment.considered,
                treatment.candidate,
                treatment.mostly,
                treatment.mostly_times,
            )
            for treatment in group.never_won[:_MAX_ROWS]
        ],
    )


def _print_rules(group: DecisionGroup) -> None:
    optionality = {entry.after: entry for entry in group.optionality}
    print_table(
        "Candidates by rule",
        [
            "stage",
            "rule",
            "rejected",
            "left",
            "share left",
            "left per decision",
            "customers with none",
        ],
        [
            (
                rule.stage,
                rule.rule,
                rule.fell,
                rule.left,
                f"{rule.share_left:.1%}",
                f"{optionality[rule.rule].mean_left:.2f}",
                optionality[rule.rule].customers["none"],
            )
            for rule in group.funnel
        ],
    )
