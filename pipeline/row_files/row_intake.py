"""Conversion of a row into an Interaction, from JSON with the topic's fields or Segment's format.

Rows of both formats must pass the gateway's checks.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.structs import replace

from pipeline.config.compile import Configuration
from pipeline.config.model import Source
from pipeline.intake.context import Fields, context_in_file, details, fields
from pipeline.intake.draft import Draft, RecordForm, take_in
from pipeline.intake.flatten import Flat, flatten
from pipeline.intake.identifiers import id_text
from pipeline.intake.messages import MAX_ID, MESSAGE_DECODER, SegmentMessage, Time
from pipeline.intake.refusal import Refusal, refuse
from pipeline.intake.segment_api import Arrival, interaction
from pipeline.intake.times import check_time, given_time, parse_time
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.lists import Elements, ambiguous_name
from pipeline.row_files.row import FileRow
from pipeline.row_files.row_ids import Ids

T = TypeVar("T")

Kind = Literal["track", "identify", "page", "screen", "group", "alias", "outcome"]
"""Kinds that files may have; only the pipeline itself makes timers."""


class _Probe(Struct, frozen=True):
    """Fields that distinguish an Interaction from a message, each empty if the record lacks it."""

    kind: Raw = Raw()
    identifiers: Raw = Raw()

    def is_interaction(self) -> bool:
        return bool(bytes(self.kind) or bytes(self.identifiers))


class InteractionRow(Struct, frozen=True):
    """Interaction in a file, with the fields that a file may set; times in epoch ms or ISO 8601.

    `received_at` defaults to now, `occurred_at` to `received_at`.
    """

    kind: Kind
    identifiers: tuple[Any, ...]
    name: str | None = None
    event_id: Annotated[str, Meta(min_length=1, max_length=MAX_ID, pattern=r"\S")] | None = None
    channel: str | None = None
    source: str | None = None
    occurred_at: Time = None
    received_at: Time = None
    properties: Any = None
    context: Any = None
    lists: dict[str, tuple[str, ...]] = {}


_PROBE: Final = msgspec.json.Decoder(_Probe)
_INTERACTION: Final = msgspec.json.Decoder(InteractionRow)


@dataclass(frozen=True, slots=True)
class RowIntake:
    """Intake of the rows of one file.

    `source` is that of rows that name none; `ids` makes ids for rows without one. `is_log`: the
    file is a log to be replayed, whose records are received at their own times.
    """

    config: Configuration
    source: Source
    max_bytes: int
    now_ms: int
    ids: Ids
    is_log: bool = False

    def take_in(self, row: FileRow) -> Interaction | Refusal:
        """Convert a row into an interaction, or return the reason for refusing it."""
        return take_in(row.raw, self._form(_PROBE, partial(self._convert, row)))

    def _form(
        self, decoder: "msgspec.json.Decoder[T]", convert: Callable[[T], Interaction | Refusal]
    ) -> RecordForm[T]:
        return RecordForm(decoder, convert, self.max_bytes, "record")

    def _convert(self, row: FileRow, probe: _Probe) -> Interaction | Refusal:
        if probe.is_interaction():
            convert = partial(self._convert_interaction, row)
            return take_in(row.raw, self._form(_INTERACTION, convert))
        return take_in(row.raw, self._form(MESSAGE_DECODER, partial(self._convert_message, row)))

    def _convert_message(self, row: FileRow, message: SegmentMessage) -> Interaction | Refusal:
        if message.type is None:
            text = "give the message's `type` (or the `kind` of an Interaction)"
            return refuse("missing_field", "type", text)
        source = self.config.source_by_key(message.write_key or "") or self.source
        if self.is_log:
            times = (message.timestamp, message.original_timestamp)
            if all(given_time(time) is None for time in times):
                return _missing_time("timestamp")
            source = replace(source, clock="log")
        new_id = partial(self.ids.next_id, row)
        arrival = Arrival(source, self.config, self.now_ms, new_id=new_id)
        return interaction(message, message.type, arrival)

    def _convert_interaction(
        self, row: FileRow, row_fields: InteractionRow
    ) -> Interaction | Refusal:
        source = row_fields.source or self.source.name
        received_at = self._receipt_time(row_fields, source)
        if isinstance(received_at, Refusal):
            return received_at
        return Draft(
            event_id=row_fields.event_id or self.ids.next_id(row),
            kind=row_fields.kind,
            name=row_fields.name or row_fields.kind,
            channel=row_fields.channel or self.source.channel,
            source=source,
            occurred_at=self._time(row_fields.occurred_at, "occurred_at", received_at, source),
            received_at=received_at,
            identifiers=self._identifiers(row_fields.identifiers, row.identifiers),
            properties=_properties(row_fields),
            context=context_in_file(fields(row_fields.context)),
        ).complete()

    def _receipt_time(self, row_fields: InteractionRow, source: str) -> int | Refusal:
        if not self.is_log or given_time(row_fields.received_at) is not None:
            return self._time(row_fields.received_at, "received_at", self.now_ms, source)
        if given_time(row_fields.occurred_at) is None:
            return _missing_time("occurred_at")
        return self._time(row_fields.occurred_at, "occurred_at", self.now_ms, source)

    def _time(self, value: Time, field: str, default_ms: int, source: str) -> int | Refusal:
        """Return a time in epoch ms, checked; `default_ms` without one."""
        time = given_time(value)
        time_ms = default_ms if time is None else parse_time(time, field)
        if isinstance(time_ms, Refusal):
            return time_ms
        return check_time(time_ms, field, default_ms, self.config.earliest_time(source))

    def _identifiers(
        self, values: Iterable[object], columns: tuple[str, ...]
    ) -> tuple[Identifier, ...] | Refusal:
        """Return the valid identifiers; refuse the first one if none is valid.

        `columns`: their names in a table.
        """
        results = [self._identifier(fields(value)) for value in values]
        valid_identifiers = [result for result in results if isinstance(result, Identifier)]
        if valid_identifiers:
            return self.config.identity.rank(valid_identifiers)
        for result in results:
            field = columns[0] if columns else "identifiers.0"
            return refuse("invalid_identifier", field, str(result))
        return refuse("missing_identifier", "identifiers", "the record has no identifier")

    def _identifier(self, parts: Fields) -> Identifier | str:
        namespace, value = parts.get("namespace"), id_text(parts.get("value"))
        if not isinstance(namespace, str) or value is None:
            return "an identifier needs a namespace, and a value that is text or a whole number"
        return self.config.identity.normalise(Identifier(namespace, value))


def _missing_time(field: str) -> Refusal:
    return refuse("missing_field", field, "a replayed log needs the time of every record")


def _properties(row_fields: InteractionRow) -> Flat | Refusal:
    """Flatten the properties, and add `lists`."""
    values = details(row_fields.properties, "properties")
    flat = values if isinstance(values, Refusal) else flatten(values, "properties")
    return flat if isinstance(flat, Refusal) else _merge_lists(flat, row_fields.lists)


def _merge_lists(properties: Flat, lists: Mapping[str, Elements]) -> Flat | Refusal:
    all_lists = {**lists, **properties.lists}
    conflicts = (name for name, values in lists.items() if all_lists[name] != values)
    name = next(conflicts, None) or ambiguous_name(properties.scalars, all_lists)
    if name is None:
        return Flat(properties.scalars, all_lists)
    return refuse("ambiguous_name", f"lists.{name}", f"{name} has another value in properties")
