"""Replayed topics as training data: Parquet as `kairos replay` writes it.

Features come from the very record that was decided, which `interactions.segmented` holds as the
decision read it; for deferred messages decided again, from the customer in that decision. Later
records only tell whether the goal was reached.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec
from msgspec import Struct

from pipeline.conditions import Facts
from pipeline.insights.tables import Engine
from pipeline.model.decision import Candidate
from pipeline.model.interaction import Context, Interaction, Known

_BATCH: Final = 2_000
_NOT_SHOWN: Final = ("bounce", "expired")
_INTERACTION: Final = """
    s.interaction AS interaction, epoch_ms(s.interaction.occurred_at) AS occurred_at,
    epoch_ms(s.interaction.received_at) AS received_at
"""
_candidates_from: Final = msgspec.json.Decoder(list[Candidate])


class ReplayedDataError(Exception):
    """Raised for folders that cannot be trained on; the message gives the reason."""


class Example(Struct, frozen=True):
    """Chosen message, and whether its goal was `reached`.

    `facts`: facts known to the decision; `rivals`: candidates that could have had the slot,
    `chosen` among them; `propensity`: probability of the choice; 0 if it was not logged.
    """

    decision_id: str
    profile_id: str
    decided_at: int
    facts: Facts
    chosen: Candidate
    rivals: tuple[Candidate, ...]
    propensity: float
    reached: bool


class SeenInteraction(Struct, frozen=True):
    """Interaction of a profile, with the facts known by then."""

    profile_id: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class MessageGoal:
    """Outcome of a message that counts within `window_ms` of the decision."""

    outcome: str
    window_ms: int


class Replayed:
    """Open folders of replayed topics."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    @property
    def end_ms(self) -> int:
        """Time of the last interaction, the end of the known data."""
        [(end,)] = self._connection.execute(
            "SELECT max(epoch_ms(interaction.received_at)) FROM segmented"
        ).fetchall()
        return 0 if end is None else int(end)

    def examples(self, goal: MessageGoal) -> Iterator[Example]:
        """Yield the examples whose window is over, in the order of time.

        Left out are messages that bounced or expired, and outcomes that a bot caused.
        """
        self._connection.execute(_OUTCOMES).fetchall()
        query = _EXAMPLES.format(
            window=goal.window_ms,
            end=self.end_ms,
            not_shown=", ".join(f"'{one}'" for one in _NOT_SHOWN),
        )
        for row in self._rows(query, [goal.outcome]):
            slot = row["slot"]
            every = _candidates_from.decode(row["candidates"])
            of_slot = [one for one in every if one.slot == slot]
            chosen = next((one for one in of_slot if one.fate == "chosen"), None)
            if chosen is None:
                continue
            yield Example(
                decision_id=row["decision_id"],
                profile_id=row["profile_id"],
                decided_at=row["decided_at"],
                facts=_facts(row),
                chosen=chosen,
                rivals=tuple(one for one in of_slot if _could_have_won(one)),
                propensity=row["propensity"] or 0.0,
                reached=row["reached"],
            )

    def interactions(self) -> Iterator[SeenInteraction]:
        """Yield all interactions but outcomes, by profile, in the order of time."""
        for row in self._rows(_INTERACTIONS, []):
            yield SeenInteraction(row["profile_id"], _facts(row))

    def _rows(self, query: str, parameters: list[Any]) -> Iterator[dict[str, Any]]:
        reader = self._connection.sql(query, params=parameters).to_arrow_reader(_BATCH)
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
    again = f"a.again.{section}.{name}"
    return f"CASE WHEN a.again IS NULL THEN s.{section}.{name} ELSE {again} END AS {name}"


_EXAMPLES: Final = f"""
WITH made AS (
    SELECT decision_id, event_id, profile_id, epoch_ms(decided_at) AS decided_at,
           to_json(candidates) AS candidates, again, unnest(choices) AS choice
    FROM decisions WHERE decision_id IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY decision_id) = 1
), acted AS (SELECT * FROM made WHERE choice.action_id IS NOT NULL),
asked AS (
    SELECT a.*, coalesce(f.profile_id, a.profile_id) AS heard_as,
           coalesce(epoch_ms(a.again.since), a.decided_at) AS heard_at
    FROM acted a LEFT JOIN (SELECT DISTINCT ON (decision_id) * FROM decisions) f
      ON f.decision_id = a.again.first
), decided AS (
    SELECT DISTINCT ON (identity.profile_id, interaction.event_id, interaction.received_at) *
    FROM segmented WHERE interaction IS NOT NULL
)
SELECT a.decision_id, a.profile_id, a.decided_at, a.candidates, a.choice.slot AS slot,
       a.choice.propensity AS propensity,
       EXISTS (SELECT 1 FROM outcomes o WHERE o.action_id = a.choice.action_id AND o.name = ?
               AND o.at >= a.decided_at AND o.at < a.decided_at + {{window}}) AS reached,
       {_INTERACTION}, a.decided_at AS now_ms,
       {_column_of("traits", "profile")}, {_column_of("derived", "profile")},
       {_column_of("members", "segments")}, {_column_of("entered", "segments")}
FROM asked a JOIN decided s
  ON s.identity.profile_id = a.heard_as AND s.interaction.event_id = a.event_id
 AND epoch_ms(s.interaction.received_at) = a.heard_at
WHERE a.decided_at + {{window}} <= {{end}}
  AND NOT EXISTS (SELECT 1 FROM outcomes o WHERE o.action_id = a.choice.action_id
                  AND o.name IN ({{not_shown}}))
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
    "feedback": "[]::STRUCT(action_id VARCHAR, what VARCHAR)[]",
    "again": """NULL::STRUCT("first" VARCHAR, since TIMESTAMPTZ,
        profile STRUCT(traits VARCHAR, derived VARCHAR),
        segments STRUCT(members VARCHAR[], entered VARCHAR[]))""",
}
"""Columns that decisions of earlier versions lack."""


@contextmanager
def open_replayed(
    segmented: Path, decisions: Path | None = None, engine: Engine | None = None
) -> Iterator[Replayed]:
    """Open the folders that `kairos replay` wrote of `interactions.segmented` and `decisions`.

    Raises ReplayedDataError.
    """
    with (engine or Engine()).open() as connection:
        needed = {"interaction", "identity", "profile", "segments"}
        _view(connection, "segmented", segmented, needed)
        if decisions is not None:
            _view(connection, "decisions", decisions, {"decision_id", "choices", "candidates"})
        try:
            yield Replayed(connection)
        except (duckdb.Error, msgspec.MsgspecError) as error:
            folders = " or ".join(map(str, filter(None, (segmented, decisions))))
            first = str(error).splitlines()[0]
            what = f"holds records that cannot be read: {first}; replay the topic anew"
            raise ReplayedDataError(f"{folders} {what}") from error


def _view(connection: duckdb.DuckDBPyConnection, name: str, folder: Path, needed: set[str]) -> None:
    files = sorted(str(one) for one in folder.rglob("*.parquet"))
    topic = "interactions.segmented" if name == "segmented" else name
    if not files:
        mend = f"`kairos replay --topic {topic} --out {folder}` writes it"
        raise ReplayedDataError(f"{folder}: holds no Parquet files of {topic}: {mend}")
    listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    try:
        relation = f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
        described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
        missing = sorted(needed.difference(row[0] for row in described))
        if missing:
            what = f"has no column {missing[0]!r}: it is not {topic} as `kairos replay` writes it"
            raise ReplayedDataError(f"{folder}: {what}")
        known = {row[0] for row in described}
        later = _LATER_COLUMNS.items() if name == "decisions" else ()
        more = "".join(f", {made} AS {column}" for column, made in later if column not in known)
        connection.execute(f"CREATE VIEW {name} AS SELECT *{more} FROM {relation}").fetchall()
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        raise ReplayedDataError(f"{folder}: cannot be read: {first}") from error


def _could_have_won(one: Candidate) -> bool:
    """Return whether it lost only to a better candidate."""
    return one.fate == "chosen" or (one.fate.startswith("beaten by ") and one.score > 0)


def _facts(row: dict[str, Any]) -> Facts:
    one = row["interaction"]
    interaction = Interaction(
        event_id=one["event_id"],
        kind=one["kind"],
        name=one["name"],
        channel=one["channel"],
        source=one["source"],
        occurred_at=row["occurred_at"],
        received_at=row["received_at"],
        identifiers=(),
        properties=_decode_values(one["properties"]),  # type: ignore[arg-type]
        context=_context(one["context"]),
        lists={name: tuple(values) for name, values in (one.get("lists") or {}).items()},
    )
    return Facts(
        interaction=interaction,
        traits=_decode_values(row["traits"]),
        segments=frozenset(row["members"] or ()),
        entered=frozenset(row["entered"] or ()),
        now_ms=row["now_ms"],
        derived=_decode_values(row["derived"]),  # type: ignore[arg-type]
    )


def _decode_values(text: str | None) -> dict[str, Known]:
    values: dict[str, Any] = msgspec.json.decode(text) if text else {}
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }


def _context(context: dict[str, Any] | None) -> Context:
    present = {name: value for name, value in (context or {}).items() if value is not None}
    return Context(**{name: present[name] for name in Context.__struct_fields__ if name in present})
