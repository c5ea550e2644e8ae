"""Files as a log: every valid row of one file or of a folder, in the order of time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct as Layout
from typing import Final

import msgspec
from msgspec import Struct

from pipeline.adapters.rocks import RowMap
from pipeline.model.interaction import Interaction
from pipeline.replay.topic_files import InteractionIntake, is_replayed, open_part
from pipeline.row_files.row import FileFormat, RowFile, UnreadableError
from pipeline.row_files.rows import open_rows
from pipeline.row_files.sending import Intake, RefusedRow, send_rows

_SORT_KEY: Final = Layout(">QQ")
"""Sort key of an interaction: time of receipt, and number in the order of reading."""

_SIGN: Final = 1 << 63
"""Added to times, so that times before 1970 sort before later ones."""

_HIDDEN_PREFIXES: Final = (".", "_")
"""Prefixes of the names of files that are skipped, as Spark and DuckDB do."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Interaction).decode


class InputReport(Struct, frozen=True):
    """Numbers of rows of a file that were `taken` and `refused`, with the `first` refusals.
    `stopped`: the reason why the file could not be read to its end."""

    file: str
    taken: int
    refused: int
    first: tuple[RefusedRow, ...]
    stopped: str | None


@dataclass(frozen=True, slots=True)
class OpenFile:
    """File with rows of its format. `is_replayed`: the file is a part of a replayed topic, whose
    rows are interactions already."""

    path: Path
    rows: RowFile
    is_replayed: bool = False


def open_files(path: Path, max_bytes: int) -> tuple[OpenFile, ...]:
    """Open a file, or the files of a folder and its folders in the order of their names.

    Files and folders whose names begin with . or _ are skipped. Raises UnreadableError if there is
    no file, or if one cannot be read at all.
    """
    file_format = FileFormat(max_bytes)
    return tuple(_open(path, file_format) for path in _paths(path))


def _open(path: Path, file_format: FileFormat) -> OpenFile:
    if is_replayed(path):
        return OpenFile(path, open_part(path), is_replayed=True)
    return OpenFile(path, open_rows(path, file_format))


def _paths(root: Path) -> list[Path]:
    if not root.is_dir():
        return [root]
    paths = [path for path in root.rglob("*") if path.is_file() and not _is_hidden(path, root)]
    if not paths:
        raise UnreadableError(f"{root} has no files")
    return sorted(paths)


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(_HIDDEN_PREFIXES) for part in path.relative_to(folder).parts)


class TimedLog:
    """Interactions in the order of receipt, interactions of one moment in the order of reading; on
    disk, because they may exceed memory."""

    def __init__(self, rows: RowMap) -> None:
        self._rows = rows
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Interaction]:
        return (_decode(value) for _, value in self._rows.items())

    def add(self, interaction: Interaction) -> None:
        """Add an interaction at its time."""
        key = _SORT_KEY.pack(interaction.received_at + _SIGN, self._count)
        self._rows[key] = _encode(interaction)
        self._count += 1


def read_file(
    file: OpenFile, row_intake: Intake, log: TimedLog, progress: Callable[[int], None]
) -> InputReport:
    """Add every valid row of the file to the log; `progress` gets the bytes or rows read so far.
    `row_intake`: conversion of rows that are not interactions yet."""
    intake = InteractionIntake() if file.is_replayed else row_intake
    try:
        report = send_rows(file.rows.rows(), intake, log.add, progress)
    except UnreadableError as error:
        prefix = "" if str(error).startswith(str(file.path)) else f"{file.path}: "
        raise UnreadableError(f"{prefix}{error}") from error
    return InputReport(str(file.path), report.sent, report.refused, report.first, report.stopped)
