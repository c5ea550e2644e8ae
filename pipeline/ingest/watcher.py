"""One watch: looks for files that are complete, and takes them one after the other."""

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
from pipeline.ingest.taking import Base, FileReport, Taking
from pipeline.row_files.decrypting import PgpKey


@dataclass(slots=True)
class Watcher:
    """Watcher of `watch` with its feed; `label` names where its files are, which `open_place`
    opens. `read_key` returns the key of its encrypted files. `waiting`: how many were not complete
    at the last look."""

    watch: model.Watch
    base: Base
    label: str
    open_place: Callable[[], AbstractContextManager[WatchedPlace]]
    read_key: Callable[[], PgpKey | None]
    readiness: FileReadiness = field(init=False)
    waiting: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.readiness = FileReadiness(self.watch.ready)

    def look(self, config: Configuration) -> Iterator[FileReport]:
        """Take every file that is complete, in the order of their names."""
        name = self.watch.watch
        try:
            with self._alone(), self.open_place() as place:
                taking = Taking(self.watch, self.base, place, config, self.read_key)
                for stamp in self._ready(place):
                    yield taking.take(stamp)
        except (PlaceError, OSError, sqlite3.OperationalError) as error:  # or the home is full
            metrics.FAILURES.labels(name).inc()
            yield self._unusable(error)
        else:
            metrics.LOOKED.labels(name).set(time.time())

    def check(self, config: Configuration) -> Iterator[FileReport]:
        """Yield each file's result without sending or moving anything, complete or not."""
        try:
            with self._alone(), self.open_place() as place:
                taking = Taking(self.watch, self.base, place, config, self.read_key)
                for stamp in self._find_fitting(place.files()):
                    yield taking.check(stamp)
        except (PlaceError, OSError, sqlite3.OperationalError) as error:
            yield self._unusable(error)

    def _unusable(self, error: Exception) -> FileReport:
        return FileReport(self.label, 0, 0, 0, "failed", str(error))

    def _ready(self, place: WatchedPlace) -> list[Stamp]:
        found = place.files()
        fitting = self._find_fitting(found)
        names = frozenset(one.name for one in found)
        ready = self.readiness.ready(fitting, names, time.monotonic(), place.unchanged_for_s)
        self.waiting = len(fitting) - len(ready)
        metrics.WAITING.labels(self.watch.watch).set(self.waiting)
        return [one for one in fitting if one in ready]

    def _find_fitting(self, found: list[Stamp]) -> list[Stamp]:
        watch, journal = self.watch, self.base.journal
        markers = {marker_of(watch.ready, one.name) for one in found}
        return sorted(
            (
                one
                for one in found
                if fits(one.name, watch.pattern or "*", watch.excludes)
                and one.name not in markers
                and not journal.is_left(watch.watch, one)
            ),
            key=lambda one: one.name,
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes of this home out; a killed one holds nothing."""
        self.base.folder.mkdir(parents=True, exist_ok=True)
        with (self.base.folder / f"{self.watch.watch}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
