"""Comparison of two configurations: the topic's interactions through the stages with each.

Both begin with the topic, each with a state of its own; nothing is written to a topic. Outcomes of
messages that a configuration does not send are left out of its run.
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
_BY: Final = """
SELECT name, count(*) FILTER (side = 'before'), count(*) FILTER (side = 'after')
FROM (SELECT side, {name} AS name FROM decisions WHERE action_id IS NOT NULL)
GROUP BY name ORDER BY name
"""
_CHANGED: Final = """
SELECT count(*) FROM (SELECT * FROM decisions WHERE side = 'before') AS b
FULL JOIN (SELECT * FROM decisions WHERE side = 'after') AS a
ON (b.decision_id = a.decision_id AND b.slot IS NOT DISTINCT FROM a.slot)
WHERE b.treatment IS DISTINCT FROM a.treatment
"""


class SideReport(Struct, frozen=True):
    """Results of one configuration, named by its digest; `short`: decisions in which a budget or
    stock excluded a candidate; `budgets`: those of campaigns at the end."""

    config: str
    decisions: int
    actions: int
    outcomes_left_out: int
    decision_hash: str
    short: int
    budgets: tuple[BudgetStatus, ...]


class Messages(Struct, frozen=True):
    """Numbers of messages under this name."""

    name: str
    before: int
    after: int


class WhatIfReport(Struct, frozen=True):
    """Decisions of `interactions`, before and after: `identical`, or with another treatment in
    `changed_slots`. A message counts in each segment of its customer. `worth`: the other
    configuration's worth, estimated from the logged decisions and their outcomes. `live`: if the
    configuration in force has budgets, the comparison of its replayed decisions with its live
    ones."""

    interactions: int
    before: SideReport
    after: SideReport
    identical: bool
    changed_slots: int
    offers: tuple[Messages, ...]
    channels: tuple[Messages, ...]
    segments: tuple[Messages, ...]
    worth: PolicyWorth | None = None
    live: LiveComparison | None = None


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Range of time from `since` up to, not including, `until` (epoch ms); None: all since the
    beginning."""

    since: int | None
    until: int

    def has(self, at: int) -> bool:
        """Return whether a time is in the range."""
        return (self.since is None or at >= self.since) and at < self.until


def what_if(
    records: Records,
    before: Rules,
    after: Rules,
    when: TimeRange,
    out: Path,
    progress: Callable[[int], None],
) -> WhatIfReport:
    """Decide with both rules and write the tables of each into `out`, with the chances of their
    choices; compare the decisions in the range. KafkaException when the broker does not answer."""
    with ExitStack() as opened:
        replayed = ReplayedDecisions(opened.enter_context(temporary_rows()))
        sides = {
            name: _Side(
                replace(rules, with_chances=True),
                opened.enter_context(_tables(out / name)),
                when,
                note,
            )
            for name, rules, note in (
                (BEFORE, before, replayed.note if before.config.budgets else iter),
                (AFTER, after, iter),
            )
        }
        count = 0
        for count, record in enumerate(inputs_until(records, when.until - 1), 1):
            for side in sides.values():
                side.player.play(record)
            progress(count)
        for side in sides.values():
            side.player.advance(when.until - 1)
        live = None
        if before.config.budgets:
            live = replayed.compare(_live_decisions(records, before.config.digest))
    was, would_be = (side.report() for side in sides.values())
    with table_engine(records.settings).open() as database:
        database.execute(_decisions(out))
        [(changed,)] = database.execute(_CHANGED).fetchall()
        return WhatIfReport(
            interactions=count,
            before=was,
            after=would_be,
            identical=was.decision_hash == would_be.decision_hash,
            changed_slots=changed,
            offers=_messages(database, "offer"),
            channels=_messages(database, "channel"),
            segments=_messages(database, "unnest(segments)"),
            live=live,
        )


def _live_decisions(records: Records, digest: str) -> Iterator[Decision]:
    decisions = records.every(topics.DECISIONS, Decision)
    return (decision for _, decision in decisions if decision.config == digest)


def _decisions(out: Path) -> str:
    """Return the statement that makes a view of both sides' decisions."""
    sides = (
        f"SELECT '{name}' AS side, * FROM {_quote(out / name / 'decisions.parquet')}"
        for name in (BEFORE, AFTER)
    )
    return f"CREATE VIEW decisions AS {' UNION ALL '.join(sides)}"


def _quote(file: Path) -> str:
    return "'" + str(file).replace("'", "''") + "'"


def _messages(database: duckdb.DuckDBPyConnection, name: str) -> tuple[Messages, ...]:
    return tuple(Messages(*row) for row in database.execute(_BY.format(name=name)).fetchall())


def _tables(folder: Path) -> OutputTables:
    folder.mkdir(parents=True, exist_ok=True)
    return OutputTables(folder)


class _Side:
    def __init__(
        self,
        rules: Rules,
        tables: OutputTables,
        when: TimeRange,
        note: Callable[[Iterable[Emit]], Iterator[Emit]],
    ) -> None:
        self.player = LogPlayer(rules, lambda emits: tables.take(note(_within(emits, when))))
        self.tables = tables
        self._digest = rules.config.digest

    def report(self) -> SideReport:
        return SideReport(
            self._digest,
            len(self.tables.decided),
            self.tables.actions.rows,
            self.player.outcomes_left_out,
            self.tables.decided.hexdigest(),
            self.tables.short,
            self.player.budgets.report(self.player.now_ms or 0),
        )


def _within(emits: Iterable[Emit], when: TimeRange) -> Iterator[Emit]:
    """Return the table without decisions or changes outside of the range."""
    for emit in emits:
        match emit.value:
            case Decision(decided_at=at) | Action(created_at=at) | SegmentChange(at=at):
                if when.has(at):
                    yield emit
            case _:
                yield emit
