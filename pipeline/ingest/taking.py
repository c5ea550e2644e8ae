"""Intake of one file of a watch: it is copied into the home, unpacked, converted, sent and moved.

The journal records the progress, from which the next look continues after any interruption.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
from confluent_kafka import KafkaException
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from pipeline.adapters.config_follower import ConfigurationLogError
from pipeline.adapters.run_state import read_json, write_json
from pipeline.config import model
from pipeline.config.compile import Configuration
from pipeline.home.last_files import LISTS
from pipeline.home.records import Records
from pipeline.ingest import metrics
from pipeline.ingest.catalog_files import ApplyCatalog, read_catalog, with_catalog
from pipeline.ingest.helpers import (
    HelperEndedError,
    convert_here,
    convert_with_helpers,
    count_helpers,
)
from pipeline.ingest.journal import Journal, Stamp
from pipeline.ingest.judging import ConvertedRows, WatchedFile, open_converter
from pipeline.ingest.list_memory import ListMemory
from pipeline.ingest.outbox import Outbox
from pipeline.ingest.places import DONE, FAILED, DeniedError, PlaceError, WatchedPlace
from pipeline.ingest.preparing import PreparedFiles, RowCounts, prepare
from pipeline.ingest.readiness import marker_of
from pipeline.ingest.whole_lists import WholeList, find_list
from pipeline.row_files.decrypting import PgpKey, decrypt, is_encrypted
from pipeline.row_files.row import RowFile, UnreadableError
from pipeline.row_files.rows import kind_of, open_rows, watched_format
from pipeline.row_files.sending import NotDeliveredError
from pipeline.row_files.unpacking import ContentLimits, is_packed, unpack

Progress: TypeAlias = Callable[[str, int, int], None]
"""Callback with the name of the file being read, the bytes read so far, and the size."""

_PIECE: Final = 1024 * 1024
_DIGEST_BYTES: Final = 16
_SHOWN_DIGITS: Final = 12
_HELPED_BYTES: Final = 4 * 1024 * 1024
"""Size from which helpers, which take a second to start, pay."""

_TEMPORARY: Final = (
    PlaceError,
    OSError,
    sqlite3.OperationalError,
    KafkaException,
    NotDeliveredError,
    HelperEndedError,
    ConfigurationLogError,
)
"""Faults not caused by the file, which is tried again."""

_LOST: Final = (
    "the members of this list's last file are lost (here and in done/), so that no customer was "
    "removed: remove those who have left it since then by hand"
)
_TAKEN: Final = "files"
_CHECKED: Final = "checked"
_MAPS: Final = (
    "source",
    "catalog",
    "format",
    "kind",
    "name",
    "columns",
    "csv",
    "time",
    "delete",
    "key",
)
"""Fields of a watch that determine the meaning of its files."""


class FileReport(Struct, frozen=True):
    """Result of a file; `reason`: of a failure, an unmoved file, or an incomplete effect;
    `warning`: the name of the latter."""

    file: str
    rows: int
    sent: int
    rejected: int
    state: Literal["done", "failed"]
    reason: str | None = None
    warning: Literal["list_memory_lost"] | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Base:
    """Common parts of all watches of a home.

    `folder`: of the home, for intake alone; `max_bytes`: of one record; `now_ms`: the clock.
    """

    folder: Path
    journal: Journal
    records: Records
    max_bytes: int
    now_ms: Callable[[], int]
    progress: Progress
    apply_catalog: ApplyCatalog


@dataclass(frozen=True, slots=True)
class _Work:
    """Working folder of a file; `content`: the name of its content and mapping in the journal;
    `name`: the unpacked file's. `list`: the list that it replaces; `file`: the digest of its
    content then, while `digest` is that of all files of the list so far."""

    content: str
    digest: str
    folder: Path
    name: str
    list: WholeList | None = None
    file: str = ""

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def result(self) -> Path:
        """File with the result, written last."""
        return self.folder / "prepared.json"

    @property
    def members(self) -> Path:
        """File with the members of the replaced list."""
        return self.folder / "members"

    @property
    def outlet(self) -> PreparedFiles:
        return PreparedFiles(
            self.folder / "records", self.folder / "letters", self.folder / "rejected.csv"
        )


@dataclass(frozen=True, slots=True)
class FileIntake:
    """Files of one watch (with its feed) in an open place."""

    watch: model.Watch
    base: Base
    place: WatchedPlace
    config: Configuration
    read_key: Callable[[], PgpKey | None]

    def take(self, stamp: Stamp) -> FileReport:
        """Send a file and move it away; after a temporary fault the next call continues."""
        try:
            return self._take(stamp)
        except UnreadableError as error:
            return self._fail(stamp, self._reason(error, stamp, None), None, None)
        except _TEMPORARY as error:
            metrics.FAILURES.labels(self.watch.watch).inc()
            return self._report(stamp, RowCounts(0, 0), f"it stays where it is: {error}")

    def check(self, stamp: Stamp) -> FileReport:
        """Return the file's result, without sending or moving anything."""
        work = None
        try:
            work = self._fetch(stamp, _CHECKED)
            catalog = self._catalog()
            prepared = (
                self._prepare(stamp, work)
                if catalog is None
                else self._check_catalog(work, catalog)
            )
        except (UnreadableError, *_TEMPORARY) as error:
            return self._report(stamp, RowCounts(0, 0), self._reason(error, stamp, work))
        finally:
            if work is not None:
                shutil.rmtree(work.folder, ignore_errors=True)
        too_bad = self._too_bad(prepared)
        sent = None if too_bad else prepared.good
        return self._of_list(work, self._report(stamp, prepared, too_bad, sent))

    def _take(self, stamp: Stamp) -> FileReport:
        work = self._fetch(stamp, _TAKEN)
        catalog = self._catalog()
        if catalog is not None:
            return self._take_catalog(stamp, work, catalog)
        before = self.base.journal.find_taken(work.content)
        if before is not None:
            reason = f"its content was taken before, as {before.name}: nothing is sent again"
            return self._put_away(stamp, work, RowCounts(0, 0), reason)
        try:
            prepared = self._prepare(stamp, work)
        except UnreadableError as error:
            return self._fail(stamp, self._reason(error, stamp, work), work, None)
        too_bad = self._too_bad(prepared)
        if too_bad is not None:
            return self._fail(stamp, too_bad, work, prepared)
        Outbox(self.base.records, self.base.journal, work.content).send(work.outlet)
        return self._put_away(stamp, work, prepared, None)

    def _catalog(self) -> model.Catalog | None:
        """Return the catalogue whose tables the files of the watch are, if they are."""
        catalogs = self.config.bundle.catalogs
        return next(
            (catalog for catalog in catalogs if catalog.catalog == self.watch.catalog), None
        )

    def _check_catalog(self, work: _Work, catalog: model.Catalog) -> RowCounts:
        items = read_catalog(catalog, work.source, Path(work.name).suffix.lower())
        with_catalog(self.config, items)
        return RowCounts(len(items.items), 0)

    def _take_catalog(self, stamp: Stamp, work: _Work, catalog: model.Catalog) -> FileReport:
        """Put the items into force, also those of a content that was taken before."""
        try:
            items = read_catalog(catalog, work.source, Path(work.name).suffix.lower())
            self.base.apply_catalog(items)
        except UnreadableError as error:
            return self._fail(stamp, self._reason(error, stamp, work), work, None)
        return self._put_away(stamp, work, RowCounts(len(items.items), 0), None)

    def _fetch(self, stamp: Stamp, folder: str) -> _Work:
        """Copy the file into the home; return it with the digest of its content."""
        fetched, *_ = temporary = self._temporary()
        try:
            with fetched.open("wb") as into:
                self.place.fetch(stamp, into, self.watch.max_bytes)
            source, name = self._open_up(fetched, stamp.name)
            file = _digest_of(source)
            whole = self._find_list(source, name, file)
            digest = file if whole is None else whole.known_by(file)
            content = f"{digest}-{_definition(self.watch)}"
            work = _Work(content, digest, self.base.folder / folder / content, name, whole, file)
            work.folder.mkdir(parents=True, exist_ok=True)
            source.replace(work.source)
        finally:
            for copy in temporary:
                copy.unlink(missing_ok=True)
        return work

    def _open_up(self, fetched: Path, name: str) -> tuple[Path, str]:
        """Decrypt and unpack a copy; return the inner file, and its name."""
        decrypted, unpacked = (Path(f"{fetched}.{suffix}") for suffix in ("decrypted", "unpacked"))
        limits = ContentLimits(self.watch.max_bytes, self.watch.max_ratio)
        source = fetched
        if is_encrypted(name):
            name = decrypt(source, name, self.read_key(), decrypted, limits)
            source = decrypted
        if is_packed(name):
            name = unpack(source, name, unpacked, limits)
            source = unpacked
        return source, name

    def _temporary(self, copy: str = "fetched") -> tuple[Path, Path, Path]:
        """Return the paths of a copied, decrypted and unpacked file."""
        names = (copy, f"{copy}.decrypted", f"{copy}.unpacked")
        fetched, plain, whole = (self.base.folder / f"{self.watch.watch}.{name}" for name in names)
        return fetched, plain, whole

    def _reason(self, error: Exception, stamp: Stamp, work: _Work | None) -> str:
        """Return the message of an error, with the file's name instead of the copy's."""
        text = str(error)
        for copy in (*self._temporary(), *(() if work is None else (work.source,))):
            text = text.replace(str(copy), stamp.name)
        return text

    def _open(self, source: Path, name: str) -> RowFile:
        return open_rows(
            source,
            watched_format(self.watch, self.base.max_bytes),
            self.watch.format or kind_of(name),
        )

    def _find_list(self, source: Path, name: str, digest: str) -> WholeList | None:
        """Return the list that the file replaces, with its former members."""
        if not self.watch.replaces:
            return None
        folder = self.base.folder / LISTS / self.watch.watch
        whole = find_list(self._open(source, name), folder, self.config.identity)
        if whole is not None:
            ListMemory(whole, self.place).recall(digest, self._open_former)
        return whole

    @contextmanager
    def _open_former(self, name: str) -> Iterator[tuple[str, RowFile]]:
        """Open a finished file; yield the digest of its content, and its rows."""
        copies = self._temporary("former")
        try:
            with copies[0].open("wb") as into:
                self.place.read(DONE, name, into, self.watch.max_bytes)
            source, inner = self._open_up(copies[0], name)
            yield _digest_of(source), self._open(source, inner)
        finally:
            for copy in copies:
                copy.unlink(missing_ok=True)

    def _prepare(self, stamp: Stamp, work: _Work) -> RowCounts:
        known = read_json(work.result, RowCounts)
        if known is not None:
            return known
        rows = self._open(work.source, work.name)
        prepared = prepare(
            self._judge(rows, stamp, work),
            work.outlet,
            lambda count: self.base.progress(stamp.name, count, rows.size),
        )
        write_json(work.result, prepared)
        return prepared

    def _judge(self, rows: RowFile, stamp: Stamp, work: _Work) -> Iterator[ConvertedRows]:
        base = self.base
        file = WatchedFile(
            self.watch, self._name(stamp), work.digest, base.max_bytes, base.now_ms()
        )
        all_rows = (
            rows.rows() if work.list is None else work.list.changes(rows.rows(), work.members)
        )
        if work.source.stat().st_size >= _HELPED_BYTES and count_helpers():
            return convert_with_helpers(all_rows, file, self.config, base.records.codec)
        return convert_here(all_rows, open_converter(file, self.config, base.records.codec))

    def _too_bad(self, prepared: RowCounts) -> str | None:
        most = 0 if self.watch.replaces else self.watch.max_bad
        if prepared.rejected <= most * prepared.rows:
            return None
        if self.watch.replaces:
            return (
                f"{prepared.rejected:,} of its {prepared.rows:,} rows are bad, and their "
                "customers would be removed from the list: no row was sent"
            )
        return (
            f"{prepared.rejected:,} of its {prepared.rows:,} rows are bad, more than the share of "
            f"{self.watch.max_bad:g} that the watch allows: no row was sent"
        )

    def _put_away(
        self, stamp: Stamp, work: _Work, prepared: RowCounts, reason: str | None
    ) -> FileReport:
        name = self._free_name(DONE, stamp, work.digest)
        if work.list is not None and reason is None:
            self._keep_list(work.list, work, name)
        try:
            if prepared.rejected:
                self.place.write(DONE, f"{name}.rejected.csv", work.outlet.rejected)
            self._move(stamp, DONE, name)
        except DeniedError as error:
            reason = f"it was taken, and stays where it is: {error}"
            self.base.journal.leave(self.watch.watch, stamp)
        if self.base.journal.find_taken(work.content) is None:
            journal = self.base.journal
            journal.finish(work.content, stamp.name, prepared.rows, prepared.rejected)
        shutil.rmtree(work.folder, ignore_errors=True)
        return self._count(
            self._of_list(work, self._report(stamp, prepared, reason, prepared.good))
        )

    def _keep_list(self, whole: WholeList, work: _Work, name: str) -> None:
        """Store the list's present members, here and beside its files."""
        last = whole.next_last(work.file, work.digest, name)
        memory = ListMemory(whole, self.place)
        whole.keep(work.members, memory.note(last, work.folder / "note"))

    def _of_list(self, work: _Work, report: FileReport) -> FileReport:
        """Add a warning where no former member could be removed from a list."""
        if work.list is None or not work.list.is_after_loss(work.file):
            return report
        reason = f"{report.reason}; {_LOST}" if report.reason else _LOST
        return replace(report, reason=reason, warning="list_memory_lost")

    def _fail(
        self, stamp: Stamp, reason: str, work: _Work | None, prepared: RowCounts | None
    ) -> FileReport:
        """Move the file to `failed/`, with the reason beside it."""
        note = self.base.folder / f"{self.watch.watch}.reason"
        note.write_text(f"{reason}\n", errors="replace")
        name = stamp.name if work is None else self._free_name(FAILED, stamp, work.digest)
        try:
            self.place.write(FAILED, f"{name}.reason.txt", note)
            if work is not None and prepared is not None:
                self.place.write(FAILED, f"{name}.rejected.csv", work.outlet.rejected)
            self._move(stamp, FAILED, name)
        except DeniedError as error:
            reason = f"{reason}; it stays where it is: {error}"
            self.base.journal.leave(self.watch.watch, stamp)
        except PlaceError as error:
            reason = f"{reason}; it stays where it is: {error}"
        note.unlink(missing_ok=True)
        if work is not None:
            shutil.rmtree(work.folder, ignore_errors=True)
        return self._count(self._report(stamp, prepared or RowCounts(0, 0), reason))

    def _free_name(self, folder: str, stamp: Stamp, digest: str) -> str:
        """Return a free name, since another content with the same name must not replace a file."""
        if self.place.exists(folder, stamp.name):
            return f"{digest[:_SHOWN_DIGITS]}-{stamp.name}"
        return stamp.name

    def _move(self, stamp: Stamp, folder: str, name: str) -> None:
        self.place.move(stamp.name, folder, name)
        marker = marker_of(self.watch.ready, stamp.name)
        if marker is not None:
            with suppress(PlaceError):
                self.place.move(marker, folder, marker)

    def _report(
        self, stamp: Stamp, prepared: RowCounts, reason: str | None, sent: int | None = None
    ) -> FileReport:
        """Report a file; `sent` None: it failed, and no row was sent."""
        return FileReport(
            file=self._name(stamp),
            rows=prepared.rows,
            sent=sent or 0,
            rejected=prepared.rejected,
            state="failed" if sent is None else "done",
            reason=reason,
        )

    def _count(self, report: FileReport) -> FileReport:
        name = self.watch.watch
        metrics.FILES.labels(name, report.state).inc()
        metrics.ROWS.labels(name, "sent").inc(report.sent)
        metrics.ROWS.labels(name, "rejected").inc(report.rejected)
        return report

    def _name(self, stamp: Stamp) -> str:
        return f"{self.place.label}/{stamp.name}"


def remove_leftovers(base: Base) -> None:
    """Remove working folders that a kill has left of completely taken files."""
    for work in (base.folder / _TAKEN).glob("*"):
        if base.journal.find_taken(work.name) is not None:
            shutil.rmtree(work, ignore_errors=True)


def _digest_of(file: Path) -> str:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    with file.open("rb") as source:
        while piece := source.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _definition(watch: model.Watch) -> str:
    """Return a digest that distinguishes mappings."""
    meaning = [getattr(watch, name) for name in _MAPS]
    meaning += [part for part in (watch.permissions, watch.replaces) if part]
    encoded = msgspec.json.encode(meaning, order="sorted")
    return blake2b(encoded, digest_size=4).hexdigest()
