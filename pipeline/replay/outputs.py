"""Records of the stages as Parquet: `decisions`, `segments` and `actions`.

`decisions` has a row for each slot of a decision; a decision without slots has one row, with `slot`
empty. `candidates` are the slot's candidates; `segments` are the customer's segments at the
decision; `chances` are the probabilities of each treatment in the slot, and of nothing (""), if
requested; `rejected` maps the rule that rejected treatments, as `stage/rule`, to their names.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa
from msgspec.structs import asdict

from pipeline.adapters.parquet_table import ParquetRow, ParquetTable, open_table
from pipeline.model.decision import Action, Decision, SlotChances
from pipeline.model.fingerprint import Fingerprint
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import Emit
from pipeline.model.profile import SegmentChange
from pipeline.model.stages import IdentitySection, Segmented
from pipeline.replay.live_decisions import is_short

_TEXT: Final = pa.string()
_TEXTS: Final = pa.list_(_TEXT)
_NUMBER: Final = pa.float64()
_TIME: Final = pa.timestamp("ms", tz="UTC")


def _fields(kind: pa.DataType, *names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, kind) for name in names]


_CANDIDATE: Final = pa.struct(
    [
        *_fields(_TEXT, "campaign", "offer", "treatment", "channel"),
        *_fields(_NUMBER, "p", "value", "cost", "weight", "score"),
        ("fate", _TEXT),
    ]
)
DECISIONS: Final = pa.schema(
    [
        *_fields(_TEXT, "decision_id", "event_id", "profile_id"),
        ("decided_at", _TIME),
        ("config", _TEXT),
        ("segments", _TEXTS),
        *_fields(_TEXT, "slot", "channel", "campaign", "offer", "treatment", "action_id"),
        *_fields(_NUMBER, "score", "propensity"),
        *_fields(_TEXT, "holdout", "would_be"),
        ("candidates", pa.list_(_CANDIDATE)),
        ("chances", pa.map_(_TEXT, _NUMBER)),
        ("rejected", pa.map_(_TEXT, _TEXTS)),
    ]
)
SEGMENTS: Final = pa.schema(
    [
        *_fields(_TEXT, "profile_id", "segment", "change"),
        ("at", _TIME),
        *_fields(_TEXT, "why", "cause"),
    ]
)
ACTIONS: Final = pa.schema(
    [
        *_fields(_TEXT, "action_id", "decision_id", "event_id", "profile_id"),
        *_fields(_TEXT, "namespace", "value", "purpose", "campaign", "offer", "treatment"),
        *_fields(_TEXT, "channel", "placement", "address"),
        ("content", pa.map_(_TEXT, _TEXT)),
        *_fields(_TIME, "created_at", "deadline_at"),
    ]
)


class OutputTables:
    """Writer of the tables of the stages' records.

    `fingerprint`: hash over all decisions; `short_decisions`: number of decisions in which a budget
    or stock excluded a candidate.
    """

    def __init__(self, folder: Path) -> None:
        self.fingerprint = Fingerprint()
        self.short_decisions = 0
        self._folder = folder
        self._open_files = ExitStack()
        self._chances: SlotChances | None = None

    def __enter__(self) -> Self:
        self.decisions = self._table("decisions", DECISIONS)
        self.segments = self._table("segments", SEGMENTS)
        self.actions = self._table("actions", ACTIONS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open_files.__exit__(kind, error, traceback)

    def write(self, emits: Iterable[Emit]) -> None:
        """Write the records that belong in one of the tables."""
        members: dict[tuple[str, str], tuple[str, ...]] = {}
        for record in (emit.value for emit in emits):
            match record:
                case Segmented(
                    interaction=Interaction() as interaction, identity=IdentitySection() as section
                ):
                    segment_ids = record.segments.members if record.segments else ()
                    members[section.profile_id, interaction.event_id] = segment_ids
                case SlotChances():
                    self._chances = record
                case Decision():
                    self._write_decision(
                        record, members.get((record.profile_id, record.event_id), ())
                    )
                case SegmentChange():
                    self.segments.add(_row(record, SEGMENTS))
                case Action():
                    identifier = asdict(record.identifier)
                    self.actions.add({**_row(record, ACTIONS), **identifier})

    def _write_decision(self, decision: Decision, members: tuple[str, ...]) -> None:
        self.fingerprint.add(decision)
        self.short_decisions += is_short(decision)
        chances, self._chances = self._chances, None
        slot_chances = (
            chances.slots if chances and chances.decision_id == decision.decision_id else {}
        )
        for row in _slot_rows(decision, members):
            self.decisions.add(
                {**row, "chances": list(slot_chances.get(row["slot"], {}).items()) or None}
            )

    def _table(self, name: str, schema: pa.Schema) -> ParquetTable:
        return self._open_files.enter_context(open_table(self._folder / f"{name}.parquet", schema))


def _row(record: Any, schema: pa.Schema) -> ParquetRow:
    return {name: getattr(record, name, None) for name in schema.names}


def _slot_rows(decision: Decision, members: tuple[str, ...]) -> Iterator[ParquetRow]:
    common_fields = {
        "decision_id": decision.decision_id,
        "event_id": decision.event_id,
        "profile_id": decision.profile_id,
        "decided_at": decision.decided_at,
        "config": decision.config,
        "segments": members,
        "rejected": list(decision.rejected.items()),
    }
    choices = {choice.slot: choice for choice in decision.choices}
    slots = dict.fromkeys((*choices, *(candidate.slot for candidate in decision.candidates)))
    for slot in slots or (None,):
        candidates = [
            asdict(candidate) for candidate in decision.candidates if candidate.slot == slot
        ]
        choice = asdict(choices[slot]) if slot in choices else {}
        yield {**common_fields, "slot": slot, "candidates": candidates, **choice}
