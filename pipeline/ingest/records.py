"""A row as an Interaction: one in JSON as it stands in the topic, or a message in Segment's format.

Both pass the checks that the gateway makes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid5

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.structs import replace

from pipeline.config.compile import Configuration
from pipeline.config.model import Source
from pipeline.gateway import body
from pipeline.gateway.context import Fields, context_in_file, details, fields
from pipeline.gateway.flatten import flatten
from pipeline.gateway.identifiers import id_text
from pipeline.gateway.messages import MAX_ID, MESSAGE, Time
from pipeline.gateway.refusal import Refusal, bad
from pipeline.gateway.segment import Arrival, has_id, interaction
from pipeline.gateway.times import epoch_ms, in_time
from pipeline.ingest.rows import Row
from pipeline.model.interaction import Identifier, Interaction

_FILES: Final = UUID("5d3b1f6e-6c0f-5a52-9d55-0b6c54f1f0b7")

Kind = Literal["track", "identify", "page", "screen", "group", "alias", "outcome"]
"""Timers are made by the pipeline alone."""


class _Probe(Struct, frozen=True):
    """Empty where the record has no such field."""

    kind: Raw = Raw()
    identifiers: Raw = Raw()

    def is_interaction(self) -> bool:
        return bool(bytes(self.kind) or bytes(self.identifiers))


class InteractionRow(Struct, frozen=True):
    """An Interaction as far as a file may say it; times as epoch ms or ISO 8601.

    Without `received_at` it is heard now; without `occurred_at` it happened when it was heard.
    """

    kind: Kind
    identifiers: tuple[Any, ...]
    name: str | None = None
    event_id: Annotated[str, Meta(min_length=1, max_length=MAX_ID)] | None = None
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
class Reading:
    """How rows are read: `source` says whose they are where they do not; `now_ms` (epoch ms)."""

    config: Configuration
    source: Source
    max_bytes: int
    now_ms: int

    def judge(self, row: Row) -> Interaction | Refusal:
        """What the row tells of, or why it cannot be taken."""
        if len(row.raw) > self.max_bytes:
            return bad("too_large", None, f"a record may have {self.max_bytes} bytes")
        probe = body.decode(row.raw, _PROBE)
        if isinstance(probe, Refusal):
            return probe
        return self._interaction(row) if probe.is_interaction() else self._message(row)

    def _message(self, row: Row) -> Interaction | Refusal:
        message = body.decode(row.raw, MESSAGE)
        if isinstance(message, Refusal):
            return message
        if message.type is None:
            text = "say which kind of message it is (or `kind`, for an Interaction)"
            return bad("missing_field", "type", text)
        kind = message.type
        if not has_id(message):
            message = replace(message, message_id=_own_id(row))
        source = self.config.source_with(message.write_key or "") or self.source
        return interaction(message, kind, Arrival(source, self.config, self.now_ms))

    def _interaction(self, row: Row) -> Interaction | Refusal:
        given = body.decode(row.raw, _INTERACTION)
        if isinstance(given, Refusal):
            return given
        source = given.source or self.source.name
        received = self._time(given.received_at, "received_at", self.now_ms, source)
        if isinstance(received, Refusal):
            return received
        occurred = self._time(given.occurred_at, "occurred_at", received, source)
        identifiers = self._identifiers(given.identifiers)
        said = details(given.properties, "properties")
        properties = said if isinstance(said, Refusal) else flatten(said, "properties")
        if isinstance(occurred, Refusal):
            return occurred
        if isinstance(identifiers, Refusal):
            return identifiers
        if isinstance(properties, Refusal):
            return properties
        return Interaction(
            event_id=given.event_id or _own_id(row),
            kind=given.kind,
            name=given.name or given.kind,
            channel=given.channel or self.source.channel,
            source=source,
            occurred_at=occurred,
            received_at=received,
            identifiers=identifiers,
            properties=properties.scalars,
            lists={**given.lists, **properties.lists},
            context=context_in_file(fields(given.context)),
        )

    def _time(self, given: Time, field: str, heard_ms: int, source: str) -> int | Refusal:
        """Epoch ms; `heard_ms` without one."""
        at = heard_ms if given is None else epoch_ms(given, field)
        if isinstance(at, Refusal):
            return at
        return in_time(at, field, heard_ms, self.config.earliest_of(source))

    def _identifiers(self, given: Iterable[object]) -> tuple[Identifier, ...] | Refusal:
        """Those that are usable; the first that is not, where none is."""
        found = [self._identifier(fields(one)) for one in given]
        valid = [one for one in found if isinstance(one, Identifier)]
        if valid:
            return self.config.identity.ranked(valid)
        for why in found:
            return bad("invalid_identifier", "identifiers.0", str(why))
        return bad("missing_identifier", "identifiers", "it names nobody")

    def _identifier(self, given: Fields) -> Identifier | str:
        namespace, value = given.get("namespace"), id_text(given.get("value"))
        if not isinstance(namespace, str) or value is None:
            return "an identifier has a namespace, and a value that is text or a whole number"
        return self.config.identity.normalise(Identifier(namespace, value))


def _own_id(row: Row) -> str:
    """The same when the file is sent again, so that it counts once."""
    return str(uuid5(_FILES, f"{row.line}/{row.raw.decode(errors='replace')}"))
