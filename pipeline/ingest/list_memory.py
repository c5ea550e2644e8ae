"""Memory of a whole list beside its files: a note in `done/` tells which of them is the last one.

So a home that has lost its members, or that of another machine, reads them from that file.
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

_NOTE_BYTES: Final = 1_000_000

OpenFormer: TypeAlias = Callable[[str], AbstractContextManager[tuple[str, RowFile]]]
"""Opens a file that is done, by its name: the digest of its content, and its rows."""


@dataclass(frozen=True, slots=True)
class ListMemory:
    """Memory of one list in the place of its files."""

    list: WholeList
    place: WatchedPlace

    def recall(self, digest: str, open_former: OpenFormer) -> None:
        """Make sure that the home has the members of the last file before the one with `digest`,
        or says that it has not. Raises PlaceError."""
        known = self.list.last()
        if known is not None and not known.is_shared:
            return
        told = self._read_note()
        if told is None or (known is not None and known.known_by == told.known_by):
            return
        if self.place.exists(DONE, told.file):
            self._restore(told, open_former)
        elif told.digest != digest:  # else it is the last file itself, half taken
            self.list.lose(told)

    def note(self, last: LastFile, draft: Path) -> LastFile:
        """Write the note, by way of `draft`; return the record with what came of it."""
        draft.write_bytes(msgspec.json.encode(last))
        try:
            self.place.write(DONE, self.list.note, draft)
        except DeniedError:  # then files stay, too, and this home alone knows the list
            return last
        finally:
            draft.unlink()
        return replace(last, is_shared=True)

    def _restore(self, told: LastFile, open_former: OpenFormer) -> None:
        try:
            with open_former(told.file) as (digest, rows):
                if digest != told.digest:
                    raise UnreadableError("it is another file now")
                self.list.restore(rows.rows(), told)
        except UnreadableError:
            self.list.lose(told)

    def _read_note(self) -> LastFile | None:
        """Return what the note says; None where there is none, or nobody may look."""
        written = io.BytesIO()
        try:
            if not self.place.exists(DONE, self.list.note):
                return None
            self.place.read(DONE, self.list.note, written, _NOTE_BYTES)
            return msgspec.json.decode(written.getvalue(), type=LastFile)
        except DeniedError:
            return None
        except (msgspec.DecodeError, UnreadableError) as error:
            what = f"{self.place.label}/{DONE}/{self.list.note} is no note of a list: remove it"
            raise PlaceError(what) from error
