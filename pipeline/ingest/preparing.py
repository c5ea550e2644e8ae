"""From a file to what Kafka gets of it, on disk, before anything is sent.

So a file of which too much is bad sends nothing, what is sent after a kill is what was sent before
it, and the second look at a file costs little.
"""

import csv
import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.compile import Configuration
from pipeline.config.model import Source
from pipeline.ingest.spooled import append
from pipeline.intake.refusal import Refusal, bad
from pipeline.model import topics
from pipeline.model.dead_letter import FailedInput, dead_letter
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import DeadLetter
from pipeline.row_files.mapping import RowMapping
from pipeline.row_files.row import ReadRow, RowFile, UnreadableRow
from pipeline.row_files.row_intake import RowIntake

STAGE: Final = "ingest"

_TOLD_EVERY: Final = 1_024
_REJECTED_HEAD: Final = ("line", "column", "reason", "original")


class Encoder(Protocol):
    """Encoder of records."""

    def encode(self, topic: str, value: Struct | None) -> bytes | None:
        """Return the bytes of `value`."""
        ...


class Prepared(Struct, frozen=True):
    """Numbers of good and of rejected rows."""

    good: int
    rejected: int

    @property
    def rows(self) -> int:
        """All of them."""
        return self.good + self.rejected


@dataclass(frozen=True, slots=True)
class Outlet:
    """The files that are written: the good rows, dead letters for the others, and these for people
    to read."""

    records: Path
    letters: Path
    rejected: Path


@dataclass(frozen=True, slots=True)
class Judge:
    """Maker of interactions from the rows of a file called `file`, all of them of `source`."""

    file: str
    reading: RowIntake
    source: Source
    mapping: RowMapping | None

    def judge(self, row: ReadRow) -> Interaction | UnreadableRow:
        """Return the interaction, or why there is none, by the column at fault."""
        if isinstance(row, UnreadableRow):
            return dataclasses.replace(row, field=self._column(row.field))
        result = self.reading.take_in(row)
        if isinstance(result, Interaction):
            result = self._of_source(result)
        if isinstance(result, Interaction):
            return result
        column = self._column(result.field)
        original = row.original or row.raw.decode(errors="replace")
        return UnreadableRow(
            row.line, result.code, column, result.message, row.done, original=original
        )

    def _of_source(self, given: Interaction) -> Interaction | Refusal:
        """Check the source: a file speaks for its own only, and a public one for devices only."""
        if given.source != self.source.name:
            what = f"the file is of the source {self.source.name}, and the row of {given.source}"
            return bad("other_source", "source", what)
        if self.source.clock == "log":
            given = replace(given, received_at=given.occurred_at)
        voice = self._config.voices.get(self.source.name)
        if voice is None:
            return given
        kept = tuple(one for one in given.identifiers if one.namespace in voice.asserts)
        if not kept:
            what = f"the source {self.source.name} is public: it speaks for devices only"
            return Refusal(403, "proof_required", what, "identifiers")
        return replace(given, identifiers=kept)

    @property
    def _config(self) -> Configuration:
        return self.reading.config

    def _column(self, field: str | None) -> str | None:
        return self.mapping.column(field) if self.mapping else field


def prepare(
    rows: RowFile, judge: Judge, codec: Encoder, outlet: Outlet, progress: Callable[[int], None]
) -> Prepared:
    """Prepare a file. Raises UnreadableError where it cannot be read to its end."""
    good = rejected = 0
    with (
        outlet.records.open("wb") as records,
        outlet.letters.open("wb") as letters,
        outlet.rejected.open("w", newline="", errors="surrogateescape") as file,
    ):
        table = csv.writer(file)
        table.writerow(_REJECTED_HEAD)
        for number, row in enumerate(rows.rows()):
            result = judge.judge(row)
            if isinstance(result, Interaction):
                value = codec.encode(topics.INTERACTIONS, result)
                assert value is not None
                append(records, result.identifiers[0].key.encode(), value)
                good += 1
            else:
                table.writerow(_cells(result))
                _put_letter(letters, result, judge, codec)
                rejected += result.rows
            if number % _TOLD_EVERY == 0:
                progress(row.done)
        for written in (records, letters):
            written.flush()
            os.fsync(written.fileno())
    return Prepared(good, rejected)


def _cells(row: UnreadableRow) -> tuple[str, ...]:
    reason = f"{row.code}: {row.message}"
    return str(row.line), row.field or "", reason, _text(row.original)


def _put_letter(file: IO[bytes], row: UnreadableRow, judge: Judge, codec: Encoder) -> None:
    """Write a dead letter; the row never was in a topic, so it has no offset."""
    column = f"{row.field}: " if row.field else ""
    failed = FailedInput(
        topic=topics.INTERACTIONS,
        at=judge.reading.now_ms,
        value=_original(row.original),
        headers=(
            ("file", judge.file.encode(errors="replace")),
            ("line", str(row.line).encode()),
        ),
    )
    fault = DeadLetter(row.code, f"{judge.file}:{row.line}: {column}{row.message}")
    value = codec.encode(topics.DEAD_LETTERS, dead_letter(STAGE, failed, fault))
    assert value is not None
    append(file, b"", value)


def _original(text: str) -> bytes:
    """Return the row's bytes as they came, also such as are no text of the file's encoding; half
    characters are lost."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _text(original: str) -> str:
    return _original(original.rstrip("\r\n")).decode("utf-8", "surrogateescape")
