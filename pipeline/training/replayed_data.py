"""Replayed topics as training data: Parquet as `kairos replay` writes it.

Features come from the very record that was decided, which `interactions.segmented` holds as the
decision read it; for a deferred message that was decided again, from the customer's facts in that
later decision. Later records only show whether the goal was reached.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec
from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.insights.tables import Engine
from pipeline.model.decision import Candidate
from pipeline.model.interaction import Context, FactValue, Interaction

_BATCH_ROWS: Final = 2_000
_UNSHOWN_OUTCOMES: Final = ("bounce", "expired")
_CERTAIN_PROPENSITY: Final = 1.0 - 1e-9
"""Propensity above which a choice counts as certain, not drawn."""
_MIN_PROPENSITY: Final = 1e-9
"""Propensity below which no choice can have been drawn, even among many items with little
exploration."""
_INTERACTION: Final = """
    s.interaction AS interaction, epoch_ms(s.interaction.occurred_at) AS occurred_at,
    epoch_ms(s.interaction.received_at) AS received_at
"""
_CANDIDATES_DECODER: Final = msgspec.json.Decoder(list[Candidate])


class ReplayedDataError(Exception):
    """Raised for folders that cannot be trained on; the message gives the reason."""


class Example(Struct, frozen=True):
    """Chosen message, and whether its goal was `reached`; `facts`: facts known to the decision."""

    decision_id: str
    profile_id: str
    decided_at: int
    facts: Facts
    message: Candidate
    reached: bool


class DrawnSlot(Struct, frozen=True):
    """Slot whose choice was drawn with this `propensity`. `choice`: its index in the decision's
    `rivals`; None: nothing. `expired`: the message was never sent."""

    slot: str
    choice: int | None
    propensity: float
    reached: bool
    expired: bool


class DrawnDecision(Struct, frozen=True):
    """Decision with its drawn slots, the first of each placement; `rivals`: candidates that could
    have won one of them."""

    profile_id: str
    decided_at: int
    facts: Facts
    slots: tuple[DrawnSlot, ...]
    rivals: tuple[Candidate, ...]


class ProfileInteraction(Struct, frozen=True):
    """Interaction of a profile, with the facts known by then."""

    profile_id: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class MessageGoal:
    """Outcome of a message that counts within `window_ms` of the decision."""

    outcome: str
    window_ms: int


class ReplayedData:
    """Replayed topics, opened for queries."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    @property
    def end_ms(self) -> int:
        """Time of the last interaction, the end of the known data; 0 without any."""
        [(end,)] = self._connection.execute(
            "SELECT max(epoch_ms(interaction.received_at)) FROM segmented"
        ).fetchall()
        return 0 if end is None else int(end)

    def examples(self, goal: MessageGoal) -> Iterator[Example]:
        """Yield the examples whose window is over, in the order of time.

        Messages that bounced or expired are left out, and so are outcomes that a bot caused.
        """
        choice_filter = "choice.action_id IS NOT NULL"
        for row in self._choices(goal, choice_filter, f"NOT {_has_outcome(*_UNSHOWN_OUTCOMES)}"):
            slot = row["slot"]
            all_candidates = _CANDIDATES_DECODER.decode(row["candidates"])
            message = next(
                (
                    candidate
                    for candidate in all_candidates
                    if candidate.slot == slot and candidate.fate == "chosen"
                ),
                None,
            )
            if message is None:
                continue
            yield Example(
                decision_id=row["decision_id"],
                profile_id=row["profile_id"],
                decided_at=row["decided_at"],
                facts=_facts(row),
                message=message,
                reached=row["reached"],
            )

    def drawn_decisions(self, goal: MessageGoal, since_ms: int) -> Iterator[DrawnDecision]:
        """Yield the decisions from `since_ms` on that have drawn slots and whose window is over, in
        the order of time.

        Candidates of campaigns whose holdout the customer is in are left out, and so are customers
        in a holdout of several campaigns.
        """
        choice_filter = f"""epoch_ms(decided_at) >= {since_ms} AND NOT contains(choice.slot, '#')
            AND choice.propensity BETWEEN {_MIN_PROPENSITY!r} AND {_CERTAIN_PROPENSITY!r}"""
        holdouts = self._holdouts()
        rows = self._choices(goal, choice_filter, "TRUE")
        for _, choices in groupby(rows, key=itemgetter("decision_id")):
            slots = list(choices)
            names = holdouts.get(slots[0]["profile_id"], ())
            if all(name.startswith(_CAMPAIGNS_HOLDOUT) for name in names):
                holdout_campaigns = frozenset(
                    name.removeprefix(_CAMPAIGNS_HOLDOUT) for name in names
                )
                yield _drawn_decision(slots, holdout_campaigns)

    def _holdouts(self) -> dict[str, list[str]]:
        """Return each customer's holdouts by all of the customer's decisions: those before the
        first exposure do not name the holdout yet."""
        return dict(self._connection.execute(_HOLDOUTS_QUERY).fetchall())

    def _choices(
        self, goal: MessageGoal, choice_filter: str, outcome_filter: str
    ) -> Iterator[dict[str, Any]]:
        """Collect the outcomes; return the choices that pass both filters, on the choice and on its
        outcomes, with the facts of their decisions."""
        self._connection.execute(_OUTCOMES).fetchall()
        query = _CHOICES.format(
            window=goal.window_ms,
            end=self.end_ms,
            choice_filter=choice_filter,
            outcome_filter=outcome_filter,
        )
        return self._rows(query, [goal.outcome])

    def interactions(self) -> Iterator[ProfileInteraction]:
        """Yield all interactions but outcomes, by profile, in the order of time."""
        for row in self._rows(_INTERACTIONS, []):
            yield ProfileInteraction(row["profile_id"], _facts(row))

    def _rows(self, query: str, parameters: list[Any]) -> Iterator[dict[str, Any]]:
        reader = self._connection.sql(query, params=parameters).to_arrow_reader(_BATCH_ROWS)
        for batch in reader:
            yield from batch.to_pylist(maps_as_pydicts="strict")


_OUTCOMES: Final = """
CREATE OR REPLACE TEMP TABLE outcomes AS
SELECT interaction.properties ->> '$.action_id' AS action_id, interaction.name AS name,
       epoch_ms(least(interaction.occurred_at, interaction.received_at)) AS at
FROM segmented
WHERE interaction.kind = 'outcome' AND coalesce(profile.derived ->> '$.bot', 'false') <> 'true'
UNION ALL
SELECT f.evidence.action_id, 'conversion', f.decided FROM (
    SELECT unnest(feedback) AS evidence, epoch_ms(decided_at) AS decided FROM decisions
) f WHERE f.evidence.what = 'reached'
"""


def _column_of(name: str, section: str) -> str:
    """Return the column of a fact as the decision used it: on first deciding, or on deciding
    again."""
    rerun_column = f"a.again.{section}.{name}"
    return f"CASE WHEN a.again IS NULL THEN s.{section}.{name} ELSE {rerun_column} END AS {name}"


def _has_outcome(*names: str) -> str:
    """Return the condition that a choice's message has an outcome of one of these names."""
    values = ", ".join(f"'{name}'" for name in names)
    return (
        "EXISTS (SELECT 1 FROM outcomes o WHERE o.action_id = a.choice.action_id "
        f"AND o.name IN ({values}))"
    )


_CAMPAIGNS_HOLDOUT: Final = "campaign/"
_HOLDOUTS_QUERY: Final = """
SELECT profile_id, list(DISTINCT draw.holdout)
FROM (SELECT profile_id, unnest(holdouts) AS draw FROM decisions) WHERE draw.held GROUP BY 1
"""
_CHOICES: Final = f"""
WITH single_choices AS (
    SELECT decision_id, event_id, profile_id, decided_at, candidates, again,
           unnest(choices) AS choice
    FROM decisions WHERE decision_id IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY decision_id) = 1
), filtered_choices AS (
    SELECT decision_id, event_id, profile_id, epoch_ms(decided_at) AS decided_at,
           to_json(candidates) AS candidates, again, choice
    FROM single_choices WHERE {{choice_filter}}
),
choices_with_input AS (
    SELECT a.*, coalesce(f.profile_id, a.profile_id) AS input_profile,
           coalesce(epoch_ms(a.again.since), a.decided_at) AS input_at
    FROM filtered_choices a LEFT JOIN (SELECT DISTINCT ON (decision_id) * FROM decisions) f
      ON f.decision_id = a.again.first
), inputs AS (
    SELECT DISTINCT ON (identity.profile_id, interaction.event_id, interaction.received_at) *
    FROM segmented WHERE interaction IS NOT NULL
)
SELECT a.decision_id, a.profile_id, a.decided_at, a.candidates, a.choice.slot AS slot,
       a.choice.action_id AS action_id, a.choice.propensity AS propensity,
       EXISTS (SELECT 1 FROM outcomes o WHERE o.action_id = a.choice.action_id AND o.name = ?
               AND o.at >= a.decided_at AND o.at < a.decided_at + {{window}}) AS reached,
       {_has_outcome("expired")} AS expired,
       {_INTERACTION}, a.decided_at AS now_ms,
       {_column_of("traits", "profile")}, {_column_of("derived", "profile")},
       {_column_of("members", "segments")}, {_column_of("entered", "segments")}
FROM choices_with_input a JOIN inputs s
  ON s.identity.profile_id = a.input_profile AND s.interaction.event_id = a.event_id
 AND epoch_ms(s.interaction.received_at) = a.input_at
WHERE a.decided_at + {{window}} <= {{end}} AND {{outcome_filter}}
ORDER BY a.decided_at, a.decision_id, slot
"""
_INTERACTIONS: Final = f"""
SELECT s.identity.profile_id AS profile_id, {_INTERACTION},
       epoch_ms(s.interaction.received_at) AS now_ms,
       s.profile.traits AS traits, s.profile.derived AS derived,
       s.segments.members AS members, s.segments.entered AS entered
FROM (
    SELECT DISTINCT ON (identity.profile_id, interaction.event_id, interaction.received_at) *
    FROM segmented WHERE interaction IS NOT NULL AND interaction.kind <> 'outcome'
) s ORDER BY profile_id, received_at, s.interaction.event_id
"""


_LATER_COLUMNS: Final = {
    "holdouts": "[]::STRUCT(holdout VARCHAR, held BOOLEAN)[]",
    "feedback": "[]::STRUCT(action_id VARCHAR, what VARCHAR)[]",
    "again": """NULL::STRUCT("first" VARCHAR, since TIMESTAMPTZ,
        profile STRUCT(traits VARCHAR, derived VARCHAR),
        segments STRUCT(members VARCHAR[], entered VARCHAR[]))""",
}
"""Columns that decisions of earlier versions lack."""


@contextmanager
def open_replayed(
    segmented: Path, decisions: Path | None = None, engine: Engine | None = None
) -> Iterator[ReplayedData]:
    """Open the folders that `kairos replay` wrote of `interactions.segmented` and `decisions`.

    Raises ReplayedDataError.
    """
    with (engine or Engine()).open() as connection:
        required_columns = {"interaction", "identity", "profile", "segments"}
        _create_view(connection, "segmented", segmented, required_columns)
        if decisions is not None:
            _create_view(
                connection, "decisions", decisions, {"decision_id", "choices", "candidates"}
            )
        try:
            yield ReplayedData(connection)
        except (duckdb.Error, msgspec.MsgspecError) as error:
            folders = " or ".join(map(str, filter(None, (segmented, decisions))))
            reason = str(error).splitlines()[0]
            message = f"holds records that cannot be read: {reason}; replay the topic again"
            raise ReplayedDataError(f"{folders} {message}") from error


def _create_view(
    connection: duckdb.DuckDBPyConnection, name: str, folder: Path, required_columns: set[str]
) -> None:
    files = sorted(str(path) for path in folder.rglob("*.parquet"))
    topic = "interactions.segmented" if name == "segmented" else name
    if not files:
        remedy = f"`kairos replay --topic {topic} --out {folder}` writes it"
        raise ReplayedDataError(f"{folder}: holds no Parquet files of {topic}: {remedy}")
    paths = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    try:
        relation = f"read_parquet([{paths}], union_by_name = true, hive_partitioning = false)"
        rows = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
        columns = {row[0] for row in rows}
        missing_columns = sorted(required_columns - columns)
        if missing_columns:
            message = (
                f"has no column {missing_columns[0]!r}: "
                f"it is not {topic} as `kairos replay` writes it"
            )
            raise ReplayedDataError(f"{folder}: {message}")
        later_columns = _LATER_COLUMNS.items() if name == "decisions" else ()
        added_columns = "".join(
            f", {expression} AS {column}"
            for column, expression in later_columns
            if column not in columns
        )
        connection.execute(
            f"CREATE VIEW {name} AS SELECT *{added_columns} FROM {relation}"
        ).fetchall()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise ReplayedDataError(f"{folder}: cannot be read: {reason}") from error


def _drawn_decision(
    choices: Sequence[dict[str, Any]], holdout_campaigns: frozenset[str]
) -> DrawnDecision:
    """Return the decision with these drawn choices; `holdout_campaigns`: campaigns that hold the
    customer out."""
    first_choice = choices[0]
    all_candidates = _CANDIDATES_DECODER.decode(first_choice["candidates"])
    rivals = tuple(
        candidate
        for candidate in all_candidates
        if candidate.campaign not in holdout_campaigns and _could_have_won(candidate)
    )
    winners = {rival.slot: index for index, rival in enumerate(rivals) if rival.fate == "chosen"}
    return DrawnDecision(
        profile_id=first_choice["profile_id"],
        decided_at=first_choice["decided_at"],
        facts=_facts(first_choice),
        slots=tuple(
            DrawnSlot(
                slot=row["slot"],
                choice=None if row["action_id"] is None else winners[row["slot"]],
                propensity=row["propensity"],
                reached=row["reached"],
                expired=row["expired"],
            )
            for row in choices
            if row["action_id"] is None or row["slot"] in winners
        ),
        rivals=rivals,
    )


def _could_have_won(candidate: Candidate) -> bool:
    """Return whether the candidate won, or lost only by the draw, to a better one or to nothing."""
    return candidate.fate == "chosen" or candidate.fate.startswith("beaten by ")


def _facts(row: dict[str, Any]) -> Facts:
    fields = row["interaction"]
    interaction = Interaction(
        event_id=fields["event_id"],
        kind=fields["kind"],
        name=fields["name"],
        channel=fields["channel"],
        source=fields["source"],
        occurred_at=row["occurred_at"],
        received_at=row["received_at"],
        identifiers=(),
        properties=_decode_values(fields["properties"]),  # type: ignore[arg-type]
        context=_context(fields["context"]),
        lists={name: tuple(values) for name, values in (fields.get("lists") or {}).items()},
    )
    return Facts(
        interaction=interaction,
        traits=_decode_values(row["traits"]),
        segments=frozenset(row["members"] or ()),
        entered_segments=frozenset(row["entered"] or ()),
        now_ms=row["now_ms"],
        derived_values=_decode_values(row["derived"]),  # type: ignore[arg-type]
    )


def _decode_values(text: str | None) -> dict[str, FactValue]:
    values: dict[str, Any] = msgspec.json.decode(text) if text else {}
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }


def _context(context: dict[str, Any] | None) -> Context:
    known_values = {name: value for name, value in (context or {}).items() if value is not None}
    return Context(
        **{name: known_values[name] for name in Context.__struct_fields__ if name in known_values}
    )
