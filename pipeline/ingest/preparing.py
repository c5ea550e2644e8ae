"""Preparation of a file: its records for Kafka are written to disk before any is sent.

So no row of a file with too many bad rows is sent, a kill does not change the records, and a second
look at a file costs little.
"""

import csv
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec import Struct

from pipeline.ingest.row_conversion import ConvertedRows

_REJECTED_HEAD: Final = ("line", "column", "reason", "original")


class RowCounts(Struct, frozen=True, rename={"valid_count": "good", "rejected_count": "rejected"}):
    """Numbers of valid and of rejected rows."""

    valid_count: int
    rejected_count: int

    @property
    def row_count(self) -> int:
        """Number of all rows."""
        return self.valid_count + self.rejected_count


@dataclass(frozen=True, slots=True)
class PreparedFiles:
    """Paths of the prepared files: records of the valid rows, dead letters of the rejected rows,
    and the rejected rows as CSV for people."""

    records: Path
    letters: Path
    rejected_csv: Path


def prepare(
    batches: Iterable[ConvertedRows], files: PreparedFiles, progress: Callable[[int], None]
) -> RowCounts:
    """Write a file's converted rows. Raises UnreadableError if it cannot be read completely."""
    valid_count = rejected_count = 0
    with (
        files.records.open("wb") as records,
        files.letters.open("wb") as letters,
        files.rejected_csv.open("w", newline="", errors="surrogateescape") as file,
    ):
        table = csv.writer(file)
        table.writerow(_REJECTED_HEAD)
        for batch in batches:
            records.write(batch.records)
            letters.write(batch.letters)
            table.writerows(batch.lines)
            valid_count += batch.valid_count
            rejected_count += batch.rejected_count
            progress(batch.progress)
        for handle in (records, letters):
            handle.flush()
            os.fsync(handle.fileno())
    return RowCounts(valid_count, rejected_count)
