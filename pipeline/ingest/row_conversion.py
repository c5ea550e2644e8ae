"""Conversion of rows to records for Kafka, or to dead letters and lines of the rejected file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config import model
from pipeline.config.compile import Configuration
from pipeline.ingest.spool import record_bytes
from pipeline.intake.refusal import Refusal, refuse
from pipeline.model import topics
from pipeline.model.dead_letter import FailedInput, dead_letter
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import DeadLetter
from pipeline.row_files.mapping import RowMapping, row_mapping
from pipeline.row_files.row import ReadRow, UnreadableRow
from pipeline.row_files.row_ids import Ids, LineIds, RowIds, StatementIds
from pipeline.row_files.row_intake import RowIntake

STAGE: Final = "ingest"


class Encoder(Protocol):
    """Encoder of records."""

    def encode(self, topic: str, value: Struct | None) -> bytes | None:
        """Return the bytes of `value`; None for a tombstone."""
        ...


class WatchedFile(Struct, frozen=True):
    """File of a watch (with its feed). `name`: name with the place; `digest`: digest of the
    content; `max_bytes`: limit of one record; `now_ms`: time of the intake."""

    watch: model.Watch
    name: str
    digest: str
    max_bytes: int
    now_ms: int


class ConvertedRows(Struct, frozen=True):
    """Converted rows. `records` and `letters`: spooled records; `lines`: cells of the rejected
    file; `progress`: position up to which the file has been read."""

    records: bytes
    letters: bytes
    lines: tuple[tuple[str, ...], ...]
    valid_count: int
    rejected_count: int
    progress: int


@dataclass(frozen=True, slots=True)
class RowConverter:
    """Converter of the rows of a file with the name `file`, all of the same `source`."""

    file: str
    intake: RowIntake
    source: model.Source
    mapping: RowMapping | None
    codec: Encoder

    def convert_rows(self, rows: Sequence[ReadRow]) -> ConvertedRows:
        """Convert rows, in order."""
        records: list[bytes] = []
        rejected_rows: list[UnreadableRow] = []
        for row in rows:
            result = self.convert(row)
            if isinstance(result, Interaction):
                value = self.codec.encode(topics.INTERACTIONS, result)
                assert value is not None
                records.append(record_bytes(result.identifiers[0].key.encode(), value))
            else:
                rejected_rows.append(result)
        return ConvertedRows(
            records=b"".join(records),
            letters=b"".join(map(self._letter, rejected_rows)),
            lines=tuple(map(_cells, rejected_rows)),
            valid_count=len(records),
            rejected_count=sum(row.rows for row in rejected_rows),
            progress=rows[-1].progress if rows else 0,
        )

    def convert(self, row: ReadRow) -> Interaction | UnreadableRow:
        """Return the interaction of a row, or the reason for its rejection, with the column at
        fault."""
        if isinstance(row, UnreadableRow):
            return replace(row, field=self._column(row.field))
        result = self.intake.take_in(row)
        if isinstance(result, Interaction):
            result = self._check_source(result)
        if isinstance(result, Interaction):
            return result
        column = self._column(result.field)
        original = row.original or row.raw.decode(errors="replace")
        return UnreadableRow(
            row.line, result.code, column, result.message, row.progress, original=original
        )

    def _check_source(self, interaction: Interaction) -> Interaction | Refusal:
        """Return the interaction if its source is the file's, with the identifiers that the source
        may assert; a public source may assert device identifiers only. A source with a log's
        clock received it when it occurred."""
        if interaction.source != self.source.name:
            message = (
                f"the row names the source {interaction.source}, but the file is of the source "
                f"{self.source.name}"
            )
            return refuse("other_source", "source", message)
        if self.source.clock == "log":
            interaction = replace(interaction, received_at=interaction.occurred_at)
        restriction = self.intake.config.restrictions.get(self.source.name)
        if restriction is None:
            return interaction
        identifiers = tuple(
            identifier
            for identifier in interaction.identifiers
            if identifier.namespace in restriction.asserts
        )
        if not identifiers:
            message = f"the source {self.source.name} is public: it may identify devices only"
            return Refusal(403, "proof_required", message, "identifiers")
        return replace(interaction, identifiers=identifiers)

    def _column(self, field: str | None) -> str | None:
        return self.mapping.column(field) if self.mapping else field

    def _letter(self, row: UnreadableRow) -> bytes:
        """Return the dead letter of a row, which was in no topic and so has no offset."""
        column = f"{row.field}: " if row.field else ""
        failed_input = FailedInput(
            topic=topics.INTERACTIONS,
            at=self.intake.now_ms,
            value=_original(row.original),
            headers=(
                ("file", self.file.encode(errors="replace")),
                ("line", str(row.line).encode()),
            ),
        )
        fault = DeadLetter(row.code, f"{self.file}:{row.line}: {column}{row.message}")
        value = self.codec.encode(topics.DEAD_LETTERS, dead_letter(STAGE, failed_input, fault))
        assert value is not None
        return record_bytes(b"", value)


def open_converter(file: WatchedFile, config: Configuration, codec: Encoder) -> RowConverter:
    """Return the converter of a file."""
    source = config.source_by_name(file.watch.source)
    assert source is not None  # checked with the configuration
    intake = RowIntake(config, source, file.max_bytes, file.now_ms, _ids(file))
    return RowConverter(file.name, intake, source, row_mapping(file.watch), codec)


def _ids(file: WatchedFile) -> Ids:
    if file.watch.key:
        return RowIds("", file.watch.key)
    return StatementIds(file.digest) if file.watch.permissions else LineIds(file.digest)


def _cells(row: UnreadableRow) -> tuple[str, ...]:
    reason = f"{row.code}: {row.message}"
    return str(row.line), row.field or "", reason, _text(row.original)


def _original(text: str) -> bytes:
    """Return the row's original bytes, also those outside the file's encoding; half surrogates are
    lost."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _text(original: str) -> str:
    return _original(original.rstrip("\r\n")).decode("utf-8", "surrogateescape")
