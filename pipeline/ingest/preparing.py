"""Preparation of a file: its records for Kafka, written to disk before any is sent.

So nothing is sent of a file with too many bad rows, the same records are sent after a kill as
before, and a second look at a file costs little.
"""

import csv
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec import Struct

from pipeline.ingest.judging import ConvertedRows

_REJECTED_HEAD: Final = ("line", "column", "reason", "original")


class RowCounts(Struct, frozen=True):
    """Numbers of good and of rejected rows."""

    good: int
    rejected: int

    @property
    def rows(self) -> int:
        """Number of all rows."""
        return self.good + self.rejected


@dataclass(frozen=True, slots=True)
class PreparedFiles:
    """Prepared files: good rows as records; bad ones as dead letters, and as CSV for people."""

    records: Path
    letters: Path
    rejected: Path


def prepare(
    converted: Iterable[ConvertedRows], outlet: PreparedFiles, progress: Callable[[int], None]
) -> RowCounts:
    """Write a file's converted rows. Raises UnreadableError where it cannot be read completely."""
    good = rejected = 0
    with (
        outlet.records.open("wb") as records,
        outlet.letters.open("wb") as letters,
        outlet.rejected.open("w", newline="", errors="surrogateescape") as file,
    ):
        table = csv.writer(file)
        table.writerow(_REJECTED_HEAD)
        for rows in converted:
            records.write(rows.records)
            letters.write(rows.letters)
            table.writerows(rows.lines)
            good += rows.good
            rejected += rows.rejected
            progress(rows.progress)
        for written in (records, letters):
            written.flush()
            os.fsync(written.fileno())
    return RowCounts(good, rejected)
