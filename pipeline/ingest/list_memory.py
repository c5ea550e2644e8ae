"""Memory of a whole list beside its files: a note in `done/` that names the list's last file.

A home that has lost the members, or the home of another machine, reads them from that file.
"""

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from pipeline.home.last_files import LastFile
from pipeline.ingest.places import DONE, DeniedError, PlaceError, WatchedPlace
from pipeline.ingest.whole_lists import WholeList
from pipeline.row_files.row import RowFile, UnreadableError

_MAX_NOTE_BYTES: Final = 1_000_000

OpenFinishedFile: TypeAlias = Callable[[str], AbstractContextManager[tuple[str, RowFile]]]
"""Function that opens a finished file by name, with the digest of its content, and its rows."""


@dataclass(frozen=True, slots=True)
class ListMemory:
    """Memory of one list at the place of its files."""

    list: WholeList
    place: WatchedPlace

    def recall(self, digest: str, open_file: OpenFinishedFile) -> None:
        """Restore the members from the last file before the one with `digest`, or record their
        loss. Raises PlaceError."""
        last_file = self.list.last_file()
        if last_file is not None and not last_file.is_shared:
            return
        note = self._read_note()
        if note is None or (
            last_file is not None and last_file.history_digest == note.history_digest
        ):
            return
        if self.place.exists(DONE, note.file):
            self._restore(note, open_file)
        elif note.digest != digest:  # an equal digest: the file at hand is the last one
            self.list.record_loss(note)

    def write_note(self, last_file: LastFile, draft: Path) -> LastFile:
        """Write the note, with `draft` as a temporary file; return the record, marked as shared on
        success."""
        draft.write_bytes(msgspec.json.encode(last_file))
        try:
            self.place.write(DONE, self.list.note, draft)
        except DeniedError:  # the place permits no changes, so only this home has the members
            return last_file
        finally:
            draft.unlink()
        return replace(last_file, is_shared=True)

    def _restore(self, note: LastFile, open_file: OpenFinishedFile) -> None:
        try:
            with open_file(note.file) as (digest, rows):
                if digest != note.digest:
                    raise UnreadableError("its content has changed")
                self.list.restore(rows.rows(), note)
        except UnreadableError:
            self.list.record_loss(note)

    def _read_note(self) -> LastFile | None:
        """Return the note; None if it is missing or access is denied."""
        content = io.BytesIO()
        try:
            if not self.place.exists(DONE, self.list.note):
                return None
            self.place.read(DONE, self.list.note, content, _MAX_NOTE_BYTES)
            return msgspec.json.decode(content.getvalue(), type=LastFile)
        except DeniedError:
            return None
        except (msgspec.DecodeError, UnreadableError) as error:
            message = (
                f"{self.place.label}/{DONE}/{self.list.note} is not a note of a list: remove it"
            )
            raise PlaceError(message) from error
