"""Watcher of one watch, which takes complete files one after the other."""

import fcntl
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from pipeline.config import model
from pipeline.config.compile import Configuration
from pipeline.ingest import metrics
from pipeline.ingest.journal import Stamp
from pipeline.ingest.places import PlaceError, WatchedPlace, fits
from pipeline.ingest.readiness import FileReadiness, marker_of
from pipeline.ingest.taking import Base, FileIntake, FileReport
from pipeline.row_files.decrypting import PgpKey


@dataclass(slots=True)
class Watcher:
    """Watcher of `watch` with its feed. `label`: name of the place of its files, which `open_place`
    opens; `read_key` returns the key of encrypted files; `waiting_count`: number of
    incomplete files at the last look."""

    watch: model.Watch
    base: Base
    label: str
    open_place: Callable[[], AbstractContextManager[WatchedPlace]]
    read_key: Callable[[], PgpKey | None]
    readiness: FileReadiness = field(init=False)
    waiting_count: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.readiness = FileReadiness(self.watch.ready)

    def look(self, config: Configuration) -> Iterator[FileReport]:
        """Take all complete files in the order of their names, and yield their reports."""
        name = self.watch.watch
        try:
            with self._lock(), self.open_place() as place:
                intake = FileIntake(self.watch, self.base, place, config, self.read_key)
                for stamp in self._select_ready_files(place):
                    yield intake.take(stamp)
        except (PlaceError, OSError, sqlite3.OperationalError) as error:  # or the home is full
            metrics.FAILURES.labels(name).inc()
            yield self._failure_report(error)
        else:
            metrics.LOOK_TIME.labels(name).set(time.time())

    def check(self, config: Configuration) -> Iterator[FileReport]:
        """Yield each file's result, complete or not, without sending or moving anything."""
        try:
            with self._lock(), self.open_place() as place:
                intake = FileIntake(self.watch, self.base, place, config, self.read_key)
                for stamp in self._find_matching_files(place.files()):
                    yield intake.check(stamp)
        except (PlaceError, OSError, sqlite3.OperationalError) as error:
            yield self._failure_report(error)

    def _failure_report(self, error: Exception) -> FileReport:
        return FileReport(self.label, 0, 0, 0, "failed", str(error))

    def _select_ready_files(self, place: WatchedPlace) -> list[Stamp]:
        stamps = place.files()
        matching_stamps = self._find_matching_files(stamps)
        names = frozenset(stamp.name for stamp in stamps)
        ready_stamps = self.readiness.select_ready_files(
            matching_stamps, names, time.monotonic(), place.unchanged_time_s
        )
        self.waiting_count = len(matching_stamps) - len(ready_stamps)
        metrics.WAITING_FILES.labels(self.watch.watch).set(self.waiting_count)
        return [stamp for stamp in matching_stamps if stamp in ready_stamps]

    def _find_matching_files(self, stamps: list[Stamp]) -> list[Stamp]:
        watch, journal = self.watch, self.base.journal
        markers = {marker_of(watch.ready, stamp.name) for stamp in stamps}
        return sorted(
            (
                stamp
                for stamp in stamps
                if fits(stamp.name, watch.pattern or "*", watch.excludes)
                and stamp.name not in markers
                and not journal.is_unmoved(watch.watch, stamp)
            ),
            key=lambda stamp: stamp.name,
        )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Lock the watch against other processes of this home; a killed process holds no lock."""
        self.base.folder.mkdir(parents=True, exist_ok=True)
        with (self.base.folder / f"{self.watch.watch}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
