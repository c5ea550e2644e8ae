"""Replayed topics that `kairos insights` may find, each odd in one way."""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from pipeline.insights.segment_moves import CHANGES
from pipeline.insights.topic_files import DECISIONS, SEGMENTED
from pipeline.model.decision import Decision
from pipeline.model.profile import SegmentChange
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS
from pipeline.simulate.offers import SALES
from tests.support.bank_campaigns import bank_records
from tests.support.replayed import write_topic

_START: Final = 1_704_067_200_000
_CHANNEL_COUNT: Final = 20_000


@dataclass(frozen=True)
class TopicRecords:
    decisions: list[Decision]
    segmented: list[Segmented]
    changes: list[SegmentChange]

    def write(self, folder: Path) -> None:
        """Write the three topics."""
        write_topic(folder, DECISIONS, self.decisions)
        write_topic(folder, SEGMENTED, self.segmented)
        write_topic(folder, CHANGES, self.changes)


def usual_records() -> TopicRecords:
    """Return records of a small bank, with entries into and exits from a segment."""
    bank = bank_records(3, 24, 30)
    changes = [
        SegmentChange(
            f"p{person}", "gold", change, "why", _START + (person + place) * DAY_MS, "x", "c"
        )
        for person in range(20)
        for place, change in enumerate(("entered", "exited"))
    ]
    return TopicRecords(bank.decisions, bank.segmented, changes)


@dataclass(frozen=True)
class OddTopic:
    """Kind of odd topics. `write` writes them to a folder, made from usual records; `message`: the
    expected message, by command or for all of them, or None if the command answers, as usual if
    `same`."""

    name: str
    write: Callable[[Path, TopicRecords], None]
    message: str | Mapping[str, str] | None = None
    same: bool = False

    def expected_words(self, command: str) -> str | None:
        """Return the expected message of a command; None if it answers."""
        return self.message.get(command) if isinstance(self.message, Mapping) else self.message


def _record_writer(change: Callable[[TopicRecords], TopicRecords]) -> Callable[..., None]:
    return lambda folder, usual: change(usual).write(folder)


def _column_writer(change: Callable[[pa.Table, str], pa.Table]) -> Callable[..., None]:
    """Return the function that writes the usual records with changed columns."""

    def write(folder: Path, usual: TopicRecords) -> None:
        usual.write(folder)
        for file in _parts(folder):
            table = pq.read_table(file, partitioning=None)
            pq.write_table(change(table, file.parts[-3]), file)

    return write


def _byte_writer(change: Callable[[bytes], bytes]) -> Callable[..., None]:
    def write(folder: Path, usual: TopicRecords) -> None:
        usual.write(folder)
        for file in _parts(folder):
            file.write_bytes(change(file.read_bytes()))

    return write


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/day=*/*.parquet"))


def _select_first_customer(usual: TopicRecords) -> TopicRecords:
    profile_id = usual.decisions[0].profile_id
    return TopicRecords(
        [decision for decision in usual.decisions if decision.profile_id == profile_id],
        [record for record in usual.segmented if record.identity.profile_id == profile_id],
        usual.changes[:2],
    )


def _remove_goals(usual: TopicRecords) -> TopicRecords:
    goals = {sale.goal for sale in SALES}
    records_without_goals = [
        record for record in usual.segmented if record.interaction.name not in goals
    ]
    return TopicRecords(usual.decisions, records_without_goals, usual.changes[::2])


def _equalise_times(usual: TopicRecords) -> TopicRecords:
    return TopicRecords(
        [replace(decision, decided_at=_START) for decision in usual.decisions],
        [
            _change_interaction(record, occurred_at=_START, received_at=_START)
            for record in usual.segmented
        ],
        [replace(change, at=_START) for change in usual.changes],
    )


def _change_interaction(segmented: Segmented, **changes: Any) -> Segmented:
    return replace(segmented, interaction=replace(segmented.interaction, **changes))


def _value_writer(value: object) -> Callable[..., None]:
    """Return the function that writes the topics with this property `value` of all interactions."""

    def change(usual: TopicRecords) -> TopicRecords:
        segmented = [
            _change_interaction(
                record, properties={**record.interaction.properties, "value": value}
            )
            for record in usual.segmented
        ]
        return TopicRecords(usual.decisions, segmented, usual.changes)

    return _record_writer(change)


def _price_writer(price: float) -> Callable[..., None]:
    """Return the function that writes the topics with candidates of this value, cost and score."""

    def change(usual: TopicRecords) -> TopicRecords:
        decisions = [
            replace(
                decision,
                candidates=tuple(
                    replace(candidate, value=price, cost=price, score=price)
                    for candidate in decision.candidates
                ),
            )
            for decision in usual.decisions
        ]
        return TopicRecords(decisions, usual.segmented, usual.changes)

    return _record_writer(change)


def _channel_writer(name: str) -> Callable[..., None]:
    """Return the function that writes the topics with this name of all channels."""

    def change(usual: TopicRecords) -> TopicRecords:
        decisions = [
            replace(
                decision,
                choices=tuple(replace(choice, channel=name) for choice in decision.choices),
                candidates=tuple(
                    replace(candidate, channel=name) for candidate in decision.candidates
                ),
            )
            for decision in usual.decisions
        ]
        segmented = [_change_interaction(record, channel=name) for record in usual.segmented]
        return TopicRecords(decisions, segmented, usual.changes)

    return _record_writer(change)


def _cast_times(table: pa.Table, kind: pa.DataType) -> pa.Table:
    """Return the table with times of that kind, also within interactions."""
    for index, column in enumerate(table.schema):
        if column.name in ("decided_at", "at", "interaction"):
            column_type = _cast_type(column.type, kind)
            table = table.set_column(index, column.name, table[column.name].cast(column_type))
    return table


def _cast_type(data_type: pa.DataType, kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(data_type):
        return kind
    if pa.types.is_struct(data_type):
        return pa.struct(
            [pa.field(field.name, _cast_type(field.type, kind)) for field in data_type]
        )
    return data_type


def _multiply_channels(table: pa.Table, topic: str) -> pa.Table:
    """Return 20,000 decisions or interactions, each with a channel of its own; return a table of
    segment changes as it is."""
    if topic == CHANGES:
        return table
    rows = table.to_pylist()
    records = [
        (_decision if topic == DECISIONS else _interaction)(rows[number % len(rows)], number)
        for number in range(_CHANNEL_COUNT)
    ]
    return pa.Table.from_pylist(records, table.schema)


def _decision(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    channel = f"channel {number}"
    names = ("decision_id", "event_id", "profile_id")
    return {
        **row,
        **{name: f"{row[name]}-{number}" for name in names},
        "choices": [
            {**choice, "channel": channel, "action_id": f"a{number}"} for choice in row["choices"]
        ],
        "candidates": [{**candidate, "channel": channel} for candidate in row["candidates"]],
    }


def _interaction(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    properties = json.loads(row["interaction"]["properties"])
    if "action_id" in properties:
        properties["action_id"] = f"a{number}"
    interaction = {
        **row["interaction"],
        "event_id": f"e{number}",
        "channel": f"channel {number}",
        "properties": json.dumps(properties),
    }
    return {**row, "interaction": interaction}


def _swap_topics(folder: Path, usual: TopicRecords) -> None:
    """Write each topic under another's name."""
    usual.write(folder / "usual")
    for name, other in ((DECISIONS, CHANGES), (SEGMENTED, DECISIONS), (CHANGES, SEGMENTED)):
        shutil.copytree(folder / "usual" / other, folder / name)


ODD_TOPICS: Final = (
    OddTopic(
        "missing", lambda folder, usual: None, "has no Parquet files; make them by: kairos replay"
    ),
    OddTopic("empty", _record_writer(lambda _: TopicRecords([], [], []))),
    OddTopic("one customer", _record_writer(_select_first_customer)),
    OddTopic(
        "one record",
        _record_writer(
            lambda usual: TopicRecords(usual.decisions[:1], usual.segmented[:1], usual.changes[:1])
        ),
    ),
    OddTopic("decisions only", _record_writer(lambda usual: TopicRecords(usual.decisions, [], []))),
    OddTopic("no conversion", _record_writer(_remove_goals)),
    OddTopic("equal times", _record_writer(_equalise_times)),
    OddTopic(
        "wrong order",
        _record_writer(
            lambda usual: TopicRecords(
                usual.decisions[::-1], usual.segmented[::-1], usual.changes[::-1]
            )
        ),
        same=True,
    ),
    OddTopic(
        "repeated ids",
        _record_writer(
            lambda usual: TopicRecords(usual.decisions * 2, usual.segmented * 2, usual.changes * 2)
        ),
        same=True,
    ),
    OddTopic("negative values", _value_writer(-9)),
    OddTopic("values that are not numbers", _value_writer("NaN")),
    OddTopic("decimal commas", _value_writer("1,5")),
    OddTopic("values that are huge", _value_writer(1e308)),
    OddTopic("prices that are not numbers", _price_writer(math.nan)),
    OddTopic("infinite prices", _price_writer(math.inf)),
    OddTopic("separator in names", _channel_writer("mail > web")),
    OddTopic("empty names", _channel_writer("")),
    OddTopic("cut", _byte_writer(lambda content: content[: len(content) // 2]), "cannot be read"),
    OddTopic("other files", _byte_writer(lambda _: b"decision_id,profile_id\n"), "cannot be read"),
    OddTopic("other topics", _swap_topics, "has no column"),
    OddTopic(
        "times without a zone",
        _column_writer(lambda table, _: _cast_times(table, pa.timestamp("ms"))),
        same=True,
    ),
    OddTopic(
        "times as numbers",
        _column_writer(lambda table, _: _cast_times(table, pa.int64())),
        "is not a time",
    ),
    OddTopic(
        "20,000 channels",
        _column_writer(_multiply_channels),
        {"report": "channel: 20,000 different ones, at most 1,000 fit a page"},
    ),
)
