"""Files with a whole list: a former member that is missing in the next file has left the list.

A list's name is the common content of its rows besides their customers, such as a segment's name.
The members of its last file are stored in the home, and a note beside the files names that file: a
home that has lost the members, or another machine, reads them from that file again.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from pipeline.config.identity import IdentityRules
from pipeline.home.last_files import LastFile, Memory, read_last_file, write_last_file
from pipeline.model.interaction import Identifier
from pipeline.row_files.row import FileRow, ReadRow, RowFile, UnreadableError

OPERATION: Final = "operation"

_DIGEST_BYTES: Final = 16
_Record: TypeAlias = dict[str, Any]

_DECODER: Final = msgspec.json.Decoder(_Record)


@dataclass(frozen=True, slots=True)
class WholeList:
    """List of one name, stored in `folder`; `name`: common content of its rows. `identity`
    determines the customer of a row."""

    folder: Path
    name: bytes
    identity: IdentityRules

    @property
    def note(self) -> str:
        """Name of the note beside its files that names the last one."""
        return f"{self.folder.parent.name}.{self.folder.name}.list.json"

    def last_file(self) -> LastFile | None:
        """Return the list's last file; None if this home has no record of one."""
        return read_last_file(self.folder)

    def history_digest(self, digest: str) -> str:
        """Return a digest of the file and all files before it: an earlier content that comes again
        is another file, since it changes the list; the last content again is the same file."""
        last_file = self.last_file()
        if last_file is None:
            return digest
        return (
            last_file.history_digest
            if last_file.digest == digest
            else _digest(f"{last_file.history_digest} {digest}")
        )

    def is_after_loss(self, digest: str) -> bool:
        """Return whether the file removes no customer, because the former members are lost."""
        last_file = self.last_file()
        if last_file is None or last_file.memory == "kept":
            return False
        return last_file.memory == "lost" or last_file.digest == digest

    def restore(self, rows: Iterator[ReadRow], last_file: LastFile) -> None:
        """Restore the members from the rows of the last file. Raises UnreadableError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self._members.with_suffix(".part")
        with draft.open("wb") as file:
            for row in rows:
                if isinstance(row, FileRow):
                    file.write(_with_operation(self._record(row), "add") + b"\n")
        draft.replace(self._members)
        write_last_file(self.folder, replace(last_file, memory="kept", is_shared=True))

    def record_loss(self, last_file: LastFile) -> None:
        """Record that the members of the last file are lost."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._members.unlink(missing_ok=True)
        write_last_file(self.folder, replace(last_file, memory="lost", is_shared=True))

    def sent_file_record(self, digest: str, history_digest: str, file: str) -> LastFile:
        """Return the record of a sent file."""
        memory: Memory = "renewed" if self.is_after_loss(digest) else "kept"
        return LastFile(digest, history_digest, file, self.name.decode(), memory)

    def derive_changes(self, rows: Iterator[ReadRow], members: Path) -> Iterator[ReadRow]:
        """Yield each row as an addition, then a removal for each member who left; write the present
        members to `members`. Raises UnreadableError for a row of another list."""
        line, progress = 0, 0
        with closing(sqlite3.connect("")) as customers, members.open("wb") as file:
            customers.execute("CREATE TABLE customers (customer BLOB PRIMARY KEY) WITHOUT ROWID")
            for row in rows:
                line, progress = row.line, row.progress
                if isinstance(row, FileRow):
                    record = self._record(row)
                    row = replace(row, raw=_with_operation(record, "add"))
                    customer = self._customer(record)
                    customers.execute("INSERT OR IGNORE INTO customers VALUES (?)", (customer,))
                    file.write(row.raw + b"\n")
                yield row
            for number, raw in enumerate(self._removals(customers), start=line + 1):
                yield FileRow(number, raw, progress)

    def store(self, members: Path, last_file: LastFile) -> None:
        """Store the members of `members`, once their file has been sent."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if members.exists():
            members.replace(self._members)
        write_last_file(self.folder, last_file)

    def _record(self, row: FileRow) -> _Record:
        record = _DECODER.decode(row.raw)
        if _name(record) != self.name:
            raise UnreadableError(
                f"line {row.line} is of another list than the rows before: a file that replaces "
                "a list has one list, so map columns that differ between rows to `ignore`"
            )
        return record

    def _removals(self, customers: sqlite3.Connection) -> Iterator[bytes]:
        """Yield a removal for each former member who is no longer on the list."""
        if not self._members.exists():
            return
        with self._members.open("rb") as file:
            for line in file:
                record = _DECODER.decode(line)
                customer = self._customer(record)
                if (
                    customers.execute(
                        "SELECT 1 FROM customers WHERE customer = ?", (customer,)
                    ).fetchone()
                    is None
                ):
                    yield _with_operation(record, "remove")

    def _customer(self, record: _Record) -> bytes:
        """Return a digest of the strongest identifier, or of all of them if none is valid."""
        raw = record["identifiers"]
        results = [self.identity.normalise(Identifier(**fields)) for fields in raw]
        identifiers = [identifier for identifier in results if isinstance(identifier, Identifier)]
        customer = self.identity.rank(identifiers)[0].key if identifiers else str(raw)
        return blake2b(customer.encode(), digest_size=_DIGEST_BYTES).digest()

    @property
    def _members(self) -> Path:
        return self.folder / "members"


def find_list(rows: RowFile, folder: Path, identity: IdentityRules) -> WholeList | None:
    """Return the list of a file, by its first valid row; None if it has no valid row."""
    first_row = next((row for row in rows.rows() if isinstance(row, FileRow)), None)
    if first_row is None:
        return None
    name = _name(_DECODER.decode(first_row.raw))
    return WholeList(folder / _digest(name.decode()), name, identity)


def _name(record: _Record) -> bytes:
    properties = {**record.get("properties", {})}
    properties.pop(OPERATION, None)
    return msgspec.json.encode(properties, order="sorted")


def _with_operation(record: _Record, operation: str) -> bytes:
    properties = {**record.get("properties", {}), OPERATION: operation}
    return msgspec.json.encode({**record, "properties": properties})


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()
