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
from pipeline.ingest.list_memory import ListMemory
from pipeline.ingest.outbox import Outbox
from pipeline.ingest.places import DONE, FAILED, DeniedError, PlaceError, WatchedPlace
from pipeline.ingest.preparing import PreparedFiles, RowCounts, prepare
from pipeline.ingest.readiness import marker_of
from pipeline.ingest.row_conversion import ConvertedRows, WatchedFile, open_converter
from pipeline.ingest.whole_lists import WholeList, find_list
from pipeline.row_files.decrypting import PgpKey, decrypt, is_encrypted
from pipeline.row_files.row import RowFile, UnreadableError
from pipeline.row_files.rows import kind_of, open_rows, watched_format
from pipeline.row_files.sending import NotDeliveredError
from pipeline.row_files.unpacking import ContentLimits, is_packed, unpack

Progress: TypeAlias = Callable[[str, int, int], None]
"""Callback with the name of the file being read, the bytes read so far, and the size."""

_CHUNK_BYTES: Final = 1024 * 1024
_DIGEST_BYTES: Final = 16
_SHOWN_DIGIT_COUNT: Final = 12
_MIN_BYTES_FOR_HELPERS: Final = 4 * 1024 * 1024
"""Size from which helpers pay for the second that they take to start."""

_TEMPORARY_ERRORS: Final = (
    PlaceError,
    OSError,
    sqlite3.OperationalError,
    KafkaException,
    NotDeliveredError,
    HelperEndedError,
    ConfigurationLogError,
)
"""Errors not caused by the file, after which the file is tried again."""

_LOSS_WARNING: Final = (
    "the members of this list's last file are lost (here and in done/), so that no customer was "
    "removed: remove customers who have left the list since then by hand"
)
_FILES_FOLDER: Final = "files"
_CHECK_FOLDER: Final = "checked"
_MAPPING_FIELDS: Final = (
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
    """Result of a file. `reason`: reason for a failure, an unmoved file, or an incomplete effect;
    `warning`: name of the incomplete effect."""

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

    `folder`: the home's folder for intake alone; `max_bytes`: limit of one record; `now_ms`: the
    clock.
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
    """Working folder of a file. `content`: name of its content and mapping in the journal; `name`:
    name of the unpacked file. `list`: the list that the file replaces; then `file_digest` is the
    digest of its content, and `digest` that of all files of the list so far."""

    content: str
    digest: str
    folder: Path
    name: str
    list: WholeList | None = None
    file_digest: str = ""

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
        except _TEMPORARY_ERRORS as error:
            metrics.FAILURES.labels(self.watch.watch).inc()
            return self._report(stamp, RowCounts(0, 0), f"it stays where it is: {error}")

    def check(self, stamp: Stamp) -> FileReport:
        """Return the file's result, without sending or moving anything."""
        work = None
        try:
            work = self._fetch(stamp, _CHECK_FOLDER)
            catalog = self._catalog()
            counts = (
                self._prepare(stamp, work)
                if catalog is None
                else self._check_catalog(work, catalog)
            )
        except (UnreadableError, *_TEMPORARY_ERRORS) as error:
            return self._report(stamp, RowCounts(0, 0), self._reason(error, stamp, work))
        finally:
            if work is not None:
                shutil.rmtree(work.folder, ignore_errors=True)
        refusal = self._refusal(counts)
        sent_count = None if refusal else counts.valid_count
        return self._warn_of_loss(work, self._report(stamp, counts, refusal, sent_count))

    def _take(self, stamp: Stamp) -> FileReport:
        work = self._fetch(stamp, _FILES_FOLDER)
        catalog = self._catalog()
        if catalog is not None:
            return self._take_catalog(stamp, work, catalog)
        taken_file = self.base.journal.find_taken_file(work.content)
        if taken_file is not None:
            reason = f"its content was taken before, as {taken_file.name}: nothing is sent again"
            return self._put_away(stamp, work, RowCounts(0, 0), reason)
        try:
            counts = self._prepare(stamp, work)
        except UnreadableError as error:
            return self._fail(stamp, self._reason(error, stamp, work), work, None)
        refusal = self._refusal(counts)
        if refusal is not None:
            return self._fail(stamp, refusal, work, counts)
        Outbox(self.base.records, self.base.journal, work.content).send(work.outlet)
        return self._put_away(stamp, work, counts, None)

    def _catalog(self) -> model.Catalog | None:
        """Return the catalogue whose tables the watch takes; None if it takes no tables."""
        catalogs = self.config.bundle.catalogs
        return next(
            (catalog for catalog in catalogs if catalog.catalog == self.watch.catalog), None
        )

    def _check_catalog(self, work: _Work, catalog: model.Catalog) -> RowCounts:
        items = read_catalog(catalog, work.source, Path(work.name).suffix.lower())
        with_catalog(self.config, items)
        return RowCounts(len(items.items), 0)

    def _take_catalog(self, stamp: Stamp, work: _Work, catalog: model.Catalog) -> FileReport:
        """Put the items into force, even if the same content was taken before."""
        try:
            items = read_catalog(catalog, work.source, Path(work.name).suffix.lower())
            self.base.apply_catalog(items)
        except UnreadableError as error:
            return self._fail(stamp, self._reason(error, stamp, work), work, None)
        return self._put_away(stamp, work, RowCounts(len(items.items), 0), None)

    def _fetch(self, stamp: Stamp, folder: str) -> _Work:
        """Copy the file into the home, decrypted and unpacked; return its working folder."""
        copy_path, *_ = copies = self._copy_paths()
        try:
            with copy_path.open("wb") as target:
                self.place.fetch(stamp, target, self.watch.max_bytes)
            source, name = self._unwrap(copy_path, stamp.name)
            file = _digest_of(source)
            whole_list = self._find_list(source, name, file)
            digest = file if whole_list is None else whole_list.history_digest(file)
            content = f"{digest}-{_mapping_digest(self.watch)}"
            work = _Work(
                content, digest, self.base.folder / folder / content, name, whole_list, file
            )
            work.folder.mkdir(parents=True, exist_ok=True)
            source.replace(work.source)
        finally:
            for copy in copies:
                copy.unlink(missing_ok=True)
        return work

    def _unwrap(self, copy_path: Path, name: str) -> tuple[Path, str]:
        """Decrypt and unpack a copy; return the path of the inner file, and its name."""
        decrypted_file, unpacked_file = (
            Path(f"{copy_path}.{suffix}") for suffix in ("decrypted", "unpacked")
        )
        limits = ContentLimits(self.watch.max_bytes, self.watch.max_ratio)
        source = copy_path
        if is_encrypted(name):
            name = decrypt(source, name, self.read_key(), decrypted_file, limits)
            source = decrypted_file
        if is_packed(name):
            name = unpack(source, name, unpacked_file, limits)
            source = unpacked_file
        return source, name

    def _copy_paths(self, copy: str = "fetched") -> tuple[Path, Path, Path]:
        """Return the paths of a copied, decrypted and unpacked file."""
        path = self.base.folder / f"{self.watch.watch}.{copy}"
        return path, Path(f"{path}.decrypted"), Path(f"{path}.unpacked")

    def _reason(self, error: Exception, stamp: Stamp, work: _Work | None) -> str:
        """Return the message of an error, with the name of the file instead of those of copies."""
        text = str(error)
        for copy in (*self._copy_paths(), *(() if work is None else (work.source,))):
            text = text.replace(str(copy), stamp.name)
        return text

    def _open(self, source: Path, name: str) -> RowFile:
        return open_rows(
            source,
            watched_format(self.watch, self.base.max_bytes),
            self.watch.format or kind_of(name),
        )

    def _find_list(self, source: Path, name: str, digest: str) -> WholeList | None:
        """Return the list that the file replaces, with its former members restored; None: the file
        replaces no list."""
        if not self.watch.replaces:
            return None
        folder = self.base.folder / LISTS / self.watch.watch
        whole_list = find_list(self._open(source, name), folder, self.config.identity)
        if whole_list is not None:
            ListMemory(whole_list, self.place).recall(digest, self._open_former_file)
        return whole_list

    @contextmanager
    def _open_former_file(self, name: str) -> Iterator[tuple[str, RowFile]]:
        """Open a finished file; yield the digest of its content, and its rows."""
        copies = self._copy_paths("former")
        try:
            with copies[0].open("wb") as target:
                self.place.read(DONE, name, target, self.watch.max_bytes)
            source, inner_name = self._unwrap(copies[0], name)
            yield _digest_of(source), self._open(source, inner_name)
        finally:
            for copy in copies:
                copy.unlink(missing_ok=True)

    def _prepare(self, stamp: Stamp, work: _Work) -> RowCounts:
        counts = read_json(work.result, RowCounts)
        if counts is not None:
            return counts
        rows = self._open(work.source, work.name)
        counts = prepare(
            self._convert(rows, stamp, work),
            work.outlet,
            lambda count: self.base.progress(stamp.name, count, rows.size),
        )
        write_json(work.result, counts)
        return counts

    def _convert(self, rows: RowFile, stamp: Stamp, work: _Work) -> Iterator[ConvertedRows]:
        base = self.base
        file = WatchedFile(
            self.watch, self._name(stamp), work.digest, base.max_bytes, base.now_ms()
        )
        input_rows = (
            rows.rows()
            if work.list is None
            else work.list.derive_changes(rows.rows(), work.members)
        )
        if work.source.stat().st_size >= _MIN_BYTES_FOR_HELPERS and count_helpers():
            return convert_with_helpers(input_rows, file, self.config, base.records.codec)
        return convert_here(input_rows, open_converter(file, self.config, base.records.codec))

    def _refusal(self, counts: RowCounts) -> str | None:
        """Return the reason why no row is sent, as too many are bad; None: valid rows are sent."""
        max_share = 0 if self.watch.replaces else self.watch.max_bad
        if counts.rejected_count <= max_share * counts.row_count:
            return None
        if self.watch.replaces:
            return (
                f"{counts.rejected_count:,} of its {counts.row_count:,} rows are bad, and their "
                "customers would be removed from the list: no row was sent"
            )
        return (
            f"{counts.rejected_count:,} of its {counts.row_count:,} rows are bad, more than the "
            f"share of {self.watch.max_bad:g} that the watch allows: no row was sent"
        )

    def _put_away(
        self, stamp: Stamp, work: _Work, counts: RowCounts, reason: str | None
    ) -> FileReport:
        name = self._free_name(DONE, stamp, work.digest)
        if work.list is not None and reason is None:
            self._store_list(work.list, work, name)
        try:
            if counts.rejected_count:
                self.place.write(DONE, f"{name}.rejected.csv", work.outlet.rejected_csv)
            self._move(stamp, DONE, name)
        except DeniedError as error:
            reason = f"it was taken, and stays where it is: {error}"
            self.base.journal.note_unmoved_file(self.watch.watch, stamp)
        if self.base.journal.find_taken_file(work.content) is None:
            journal = self.base.journal
            journal.finish(work.content, stamp.name, counts.row_count, counts.rejected_count)
        shutil.rmtree(work.folder, ignore_errors=True)
        return self._count(
            self._warn_of_loss(work, self._report(stamp, counts, reason, counts.valid_count))
        )

    def _store_list(self, whole_list: WholeList, work: _Work, name: str) -> None:
        """Store the list's present members, here and beside its files."""
        last_file = whole_list.sent_file_record(work.file_digest, work.digest, name)
        memory = ListMemory(whole_list, self.place)
        whole_list.store(work.members, memory.write_note(last_file, work.folder / "note"))

    def _warn_of_loss(self, work: _Work, report: FileReport) -> FileReport:
        """Add a warning if the list's former members are lost, so that none could be removed."""
        if work.list is None or not work.list.is_after_loss(work.file_digest):
            return report
        reason = f"{report.reason}; {_LOSS_WARNING}" if report.reason else _LOSS_WARNING
        return replace(report, reason=reason, warning="list_memory_lost")

    def _fail(
        self, stamp: Stamp, reason: str, work: _Work | None, counts: RowCounts | None
    ) -> FileReport:
        """Move the file to `failed/`, with the reason beside it."""
        note = self.base.folder / f"{self.watch.watch}.reason"
        note.write_text(f"{reason}\n", errors="replace")
        name = stamp.name if work is None else self._free_name(FAILED, stamp, work.digest)
        try:
            self.place.write(FAILED, f"{name}.reason.txt", note)
            if work is not None and counts is not None:
                self.place.write(FAILED, f"{name}.rejected.csv", work.outlet.rejected_csv)
            self._move(stamp, FAILED, name)
        except DeniedError as error:
            reason = f"{reason}; it stays where it is: {error}"
            self.base.journal.note_unmoved_file(self.watch.watch, stamp)
        except PlaceError as error:
            reason = f"{reason}; it stays where it is: {error}"
        note.unlink(missing_ok=True)
        if work is not None:
            shutil.rmtree(work.folder, ignore_errors=True)
        return self._count(self._report(stamp, counts or RowCounts(0, 0), reason))

    def _free_name(self, folder: str, stamp: Stamp, digest: str) -> str:
        """Return a free name, so that the file replaces no other file of the same name."""
        if self.place.exists(folder, stamp.name):
            return f"{digest[:_SHOWN_DIGIT_COUNT]}-{stamp.name}"
        return stamp.name

    def _move(self, stamp: Stamp, folder: str, name: str) -> None:
        self.place.move(stamp.name, folder, name)
        marker = marker_of(self.watch.ready, stamp.name)
        if marker is not None:
            with suppress(PlaceError):
                self.place.move(marker, folder, marker)

    def _report(
        self, stamp: Stamp, counts: RowCounts, reason: str | None, sent_count: int | None = None
    ) -> FileReport:
        """Return the report of a file; `sent_count` None: it failed, and no row was sent."""
        return FileReport(
            file=self._name(stamp),
            rows=counts.row_count,
            sent=sent_count or 0,
            rejected=counts.rejected_count,
            state="failed" if sent_count is None else "done",
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
    """Remove working folders of completely taken files, which a kill left behind."""
    for work in (base.folder / _FILES_FOLDER).glob("*"):
        if base.journal.find_taken_file(work.name) is not None:
            shutil.rmtree(work, ignore_errors=True)


def _digest_of(file: Path) -> str:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _mapping_digest(watch: model.Watch) -> str:
    """Return a digest that distinguishes mappings."""
    meaning = [getattr(watch, name) for name in _MAPPING_FIELDS]
    meaning += [part for part in (watch.permissions, watch.replaces) if part]
    data = msgspec.json.encode(meaning, order="sorted")
    return blake2b(data, digest_size=4).hexdigest()
