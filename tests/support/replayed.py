"""Records as the Parquet that `kairos replay` writes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.model.decision import Assignment, Candidate, Choice, Decision
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.stages import IdentitySection, Segmented, SegmentSection
from pipeline.replay.columns import columns_of, record_converter

_SCHEMAS = Path(__file__).parents[2] / "schemas"
_PLACE = [
    ("kafka_partition", pa.int32()),
    ("kafka_offset", pa.int64()),
    ("kafka_at", pa.timestamp("ms", tz="UTC")),
    ("kafka_key", pa.string()),
    ("kafka_tombstone", pa.bool_()),
    ("kafka_error", pa.string()),
]


def write_topic(folder: Path, topic: str, records: Iterable[msgspec.Struct]) -> None:
    """Write FOLDER/TOPIC/day=2024-01-01/part-0-0-N.parquet."""
    columns = columns_of(json.loads((_SCHEMAS / f"{topic}.avsc").read_text()))
    convert = record_converter(columns)
    schema = pa.schema([*((name, column.kind) for name, column in columns.items()), *_PLACE])
    rows: list[dict[str, Any]] = []
    for number, record in enumerate(records):
        row = msgspec.to_builtins(record)
        row = row if convert is None else convert(row)
        place = {"kafka_partition": 0, "kafka_offset": number, "kafka_tombstone": False}
        rows.append({**row, **place})
    day = folder / topic / "day=2024-01-01"
    day.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), day / f"part-0-0-{len(rows)}.parquet")


def as_segmented(
    customer: str, interaction: Interaction, members: tuple[str, ...] = ()
) -> Segmented:
    """Return the interaction's record of `interactions.segmented`."""
    return Segmented(
        interaction=interaction,
        identity=IdentitySection(customer, f"customer_id:{customer}", "shard", 1, "config"),
        segments=SegmentSection(members, (), ()),
    )


def event(event_id: str, name: str, at: int, **properties: Any) -> Interaction:
    """Return a track, or the outcome of a message where `action_id` is among the properties."""
    return Interaction(
        event_id=event_id,
        kind="outcome" if "action_id" in properties else "track",
        name=name,
        channel="web",
        source="shop",
        occurred_at=at,
        received_at=at,
        identifiers=(Identifier("customer_id", "one"),),
        properties=properties,
    )


def decision(
    event_id: str,
    customer: str,
    at: int,
    candidate: Candidate,
    *,
    holdouts: tuple[Assignment, ...] = (),
) -> Decision:
    """Return a decision with one candidate, chosen or held out according to its fate."""
    holdout = candidate.fate.removeprefix("held out by ") if candidate.fate != "chosen" else None
    choice = (
        Choice(candidate.slot, candidate.channel, holdout=holdout, would_be=candidate.treatment)
        if holdout
        else Choice(
            candidate.slot,
            candidate.channel,
            f"a-{event_id}",
            candidate.campaign,
            candidate.offer,
            candidate.treatment,
        )
    )
    return Decision(f"d-{event_id}", event_id, customer, "c", at, (choice,), (candidate,),
                    holdouts=holdouts)  # fmt: skip
