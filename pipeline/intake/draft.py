"""Intake of one record: decoding of its JSON, then conversion into an interaction."""

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from pipeline.intake.decoding import decode
from pipeline.intake.flatten import Flat
from pipeline.intake.refusal import Refusal, refuse
from pipeline.model.interaction import Context, DecideRequest, Identifier, Interaction, Kind

T = TypeVar("T")


class RecordForm(Struct, Generic[T], frozen=True):
    """Form of incoming records: decoder, conversion into an interaction, maximum size.

    `noun` names the record in a refusal.
    """

    decoder: "msgspec.json.Decoder[T]"
    convert: Callable[[T], Interaction | Refusal]
    max_bytes: int
    noun: str = "message"


def take_in(raw: bytes, form: RecordForm[T]) -> Interaction | Refusal:
    """Convert the JSON of a record into an interaction, or return its refusal."""
    if len(raw) > form.max_bytes:
        return refuse("too_large", None, f"a {form.noun} may have {form.max_bytes} bytes")
    record = decode(raw, form.decoder)
    return record if isinstance(record, Refusal) else form.convert(record)


class Draft(Struct, frozen=True):
    """Interaction whose checked parts may be refusals; times in epoch ms.

    `received_at`: None for a replayed log, whose events are received when they occur.
    """

    event_id: str | Refusal
    kind: Kind
    name: str | Refusal
    channel: str
    source: str
    occurred_at: int | Refusal
    received_at: int | None
    identifiers: tuple[Identifier, ...] | Refusal
    properties: Flat | Refusal
    context: Context
    request: DecideRequest | None = None

    def complete(self) -> Interaction | Refusal:
        """Return the interaction, or the first of the refusals."""
        parts = (self.event_id, self.name, self.occurred_at, self.identifiers, self.properties)
        match parts:
            case (str(event_id), str(name), int(occurred_at), tuple(identifiers), Flat() as flat):
                return Interaction(
                    event_id=event_id,
                    kind=self.kind,
                    name=name,
                    channel=self.channel,
                    source=self.source,
                    occurred_at=occurred_at,
                    received_at=occurred_at if self.received_at is None else self.received_at,
                    identifiers=identifiers,
                    properties=flat.scalars,
                    lists=flat.lists,
                    context=self.context,
                    request=self.request,
                )
        return next(part for part in parts if isinstance(part, Refusal))
