"""Comparison of two configurations, which plays the topic's interactions through the stages with
each.

Both begin at the start of the topic, each with a state of its own; nothing is written to a topic.
Outcomes of messages that a configuration does not send are left out of its run.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import duckdb
from msgspec import Struct

from pipeline.adapters.rocks import temporary_rows
from pipeline.home.records import Records
from pipeline.home.table_engine import table_engine
from pipeline.insights.policy_worth import PolicyWorth
from pipeline.model import topics
from pipeline.model.budget import BudgetStatus
from pipeline.model.decision import Action, Decision
from pipeline.model.outcome import Emit
from pipeline.model.profile import SegmentChange
from pipeline.profile_reads.as_of import inputs_until
from pipeline.replay.live_decisions import LiveComparison, ReplayedDecisions
from pipeline.replay.outputs import OutputTables
from pipeline.replay.playing import LogPlayer
from pipeline.rules import Rules

BEFORE: Final = "before"
AFTER: Final = "after"
_MESSAGE_COUNTS: Final = """
SELECT name, count(*) FILTER (side = 'before'), count(*) FILTER (side = 'after')
FROM (SELECT side, {name} AS name FROM decisions WHERE action_id IS NOT NULL)
GROUP BY name ORDER BY name
"""
_CHANGED_SLOTS: Final = """
SELECT count(*) FROM (SELECT * FROM decisions WHERE side = 'before') AS b
FULL JOIN (SELECT * FROM decisions WHERE side = 'after') AS a
ON (b.decision_id = a.decision_id AND b.slot IS NOT DISTINCT FROM a.slot)
WHERE b.treatment IS DISTINCT FROM a.treatment
"""


class SideReport(Struct, frozen=True):
    """Results of one configuration, named by its digest; `short`: decisions in which a budget or
    stock excluded a candidate; `budgets`: the budgets of campaigns at the end."""

    config: str
    decisions: int
    actions: int
    outcomes_left_out: int
    decision_hash: str
    short: int
    budgets: tuple[BudgetStatus, ...]


class MessageComparison(Struct, frozen=True):
    """Numbers of messages of an offer, channel or segment, by both configurations."""

    name: str
    before: int
    after: int


class WhatIfReport(Struct, frozen=True):
    """Comparison of the decisions about `interactions`.

    `identical`: both made the same decisions; `changed_slots`: number of slots with another
    treatment. A message counts in each segment of its customer. `worth`: the other configuration's
    worth, estimated from the logged decisions and their outcomes. `live`: the comparison of
    replayed and live decisions of the configuration in force, if it has budgets.
    """

    interactions: int
    before: SideReport
    after: SideReport
    identical: bool
    changed_slots: int
    offers: tuple[MessageComparison, ...]
    channels: tuple[MessageComparison, ...]
    segments: tuple[MessageComparison, ...]
    worth: PolicyWorth | None = None
    live: LiveComparison | None = None


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Range of time [`since`, `until`) (epoch ms); `since` None: from the beginning."""

    since: int | None
    until: int

    def has(self, at: int) -> bool:
        """Return whether a time is in the range."""
        return (self.since is None or at >= self.since) and at < self.until


def compare_configurations(
    records: Records,
    rules_before: Rules,
    rules_after: Rules,
    period: TimeRange,
    out: Path,
    progress: Callable[[int], None],
) -> WhatIfReport:
    """Decide with both rules and write the tables of each into `out`, with the chances of their
    choices; compare the decisions in the period. Raises KafkaException when the broker does not
    answer.

    `progress` gets the number of interactions and identity changes played so far.
    """
    has_budgets = bool(rules_before.config.budgets)
    with ExitStack() as stack:
        decisions = ReplayedDecisions(stack.enter_context(temporary_rows()))
        before_tables, after_tables = (
            stack.enter_context(_tables(out / name)) for name in (BEFORE, AFTER)
        )
        sides = (
            _Side(rules_before, before_tables, period, decisions.note if has_budgets else iter),
            _Side(rules_after, after_tables, period, iter),
        )
        count = _play(records, sides, period.until - 1, progress)
        live_comparison = None
        if has_budgets:
            live_comparison = decisions.compare(
                _live_decisions(records, rules_before.config.digest)
            )
    before_report, after_report = (side.report() for side in sides)
    with table_engine(records.settings).open() as database:
        database.execute(_decisions_view(out))
        [(changed_slots,)] = database.execute(_CHANGED_SLOTS).fetchall()
        return WhatIfReport(
            interactions=count,
            before=before_report,
            after=after_report,
            identical=before_report.decision_hash == after_report.decision_hash,
            changed_slots=changed_slots,
            offers=_messages(database, "offer"),
            channels=_messages(database, "channel"),
            segments=_messages(database, "unnest(segments)"),
            live=live_comparison,
        )


def _play(
    records: Records, sides: Iterable["_Side"], until: int, progress: Callable[[int], None]
) -> int:
    """Play the topic's records up to `until` (epoch ms, inclusive) to each side; return their
    number."""
    count = 0
    for count, record in enumerate(inputs_until(records, until), 1):
        for side in sides:
            side.player.play(record)
        progress(count)
    for side in sides:
        side.player.advance(until)
    return count


def _live_decisions(records: Records, digest: str) -> Iterator[Decision]:
    decisions = records.read_all(topics.DECISIONS, Decision)
    return (decision for _, decision in decisions if decision.config == digest)


def _decisions_view(out: Path) -> str:
    """Return the statement that makes a view of both sides' decisions."""
    sides = (
        f"SELECT '{name}' AS side, * FROM {_quote(out / name / 'decisions.parquet')}"
        for name in (BEFORE, AFTER)
    )
    return f"CREATE VIEW decisions AS {' UNION ALL '.join(sides)}"


def _quote(file: Path) -> str:
    return "'" + str(file).replace("'", "''") + "'"


def _messages(database: duckdb.DuckDBPyConnection, name: str) -> tuple[MessageComparison, ...]:
    return tuple(
        MessageComparison(*row)
        for row in database.execute(_MESSAGE_COUNTS.format(name=name)).fetchall()
    )


def _tables(folder: Path) -> OutputTables:
    folder.mkdir(parents=True, exist_ok=True)
    return OutputTables(folder)


class _Side:
    """Run of one configuration: its player and its tables."""

    def __init__(
        self,
        rules: Rules,
        tables: OutputTables,
        period: TimeRange,
        note: Callable[[Iterable[Emit]], Iterator[Emit]],
    ) -> None:
        self.player = LogPlayer(
            replace(rules, with_chances=True),
            lambda emits: tables.write(note(_select(emits, period))),
        )
        self.tables = tables
        self._digest = rules.config.digest

    def report(self) -> SideReport:
        return SideReport(
            self._digest,
            len(self.tables.fingerprint),
            self.tables.actions.row_count,
            self.player.outcomes_left_out,
            self.tables.fingerprint.hexdigest(),
            self.tables.short_decisions,
            self.player.budgets.report(self.player.now_ms or 0),
        )


def _select(emits: Iterable[Emit], period: TimeRange) -> Iterator[Emit]:
    """Yield the records without decisions, actions and segment changes outside of the period."""
    for emit in emits:
        match emit.value:
            case Decision(decided_at=at) | Action(created_at=at) | SegmentChange(at=at):
                if period.has(at):
                    yield emit
            case _:
                yield emit
