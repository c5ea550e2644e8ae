"""Watching: once over all watches, or continuously as a process that follows the configuration."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import UNSET
from prometheus_client import start_http_server

from pipeline.adapters.clock import now_ms
from pipeline.adapters.config_log import ConfigurationLog
from pipeline.adapters.run_state import announce, withdraw
from pipeline.conditions import duration_ms
from pipeline.config import model
from pipeline.config.compile import Configuration
from pipeline.home.codec import open_codec
from pipeline.home.last_files import ingest_folder
from pipeline.home.records import Records
from pipeline.ingest.catalog_files import catalog_applier
from pipeline.ingest.journal import Journal
from pipeline.ingest.opening import watchers
from pipeline.ingest.taking import Base, FileReport, Progress, remove_leftovers
from pipeline.ingest.watcher import Watcher
from pipeline.settings import Settings

NAME: Final = "ingest"

_START_S: Final = 30.0
_LOOK_S: Final = 0.5
_END_S: Final = 5.0
_PATIENCE_S: Final = 5.0
"""Wait beyond the time that files must rest; files that still change then are left to the next
look."""

_log = logging.getLogger("kairos.ingest")


def base_of(settings: Settings, progress: Progress) -> Base:
    """Return the common parts of all watches of the settings' home."""
    folder = ingest_folder(settings.home)
    return Base(
        folder=folder,
        journal=Journal(folder),
        records=Records.of(settings),
        max_bytes=settings.gateway_message_bytes,
        now_ms=now_ms,
        progress=progress,
        apply_catalog=catalog_applier(settings),
    )


def look_once(all_watchers: Sequence[Watcher], config: Configuration) -> Iterator[FileReport]:
    """Take every file, and yield its report; wait for files that may be complete soon."""
    patience_s = (
        max((watcher.readiness.rest_s for watcher in all_watchers), default=0.0) + _PATIENCE_S
    )
    deadline = time.monotonic() + patience_s
    reports: list[FileReport] = []
    remaining_watchers = list(all_watchers)
    while remaining_watchers:
        for watcher in remaining_watchers:
            for report in watcher.look(config):
                if report not in reports:
                    reports.append(report)
                    yield report
        remaining_watchers = [
            watcher
            for watcher in remaining_watchers
            if watcher.waiting_count and watcher.watch.ready.by == "rest"
        ]
        if remaining_watchers and time.monotonic() > deadline:
            return
        if remaining_watchers:
            time.sleep(
                min(_LOOK_S, *(watcher.readiness.rest_s / 5 for watcher in remaining_watchers))
            )


def run(settings: Settings) -> None:
    """Watch until SIGTERM or SIGINT."""
    announce(settings.home, NAME, "starting")
    log = ConfigurationLog(settings.kafka(), open_codec(settings))
    log.start(_START_S)
    stop_event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop_event.set())
    ports = {"metrics": start_http_server(0, "127.0.0.1")[0].server_port}
    announce(settings.home, NAME, "ready", ports)
    try:
        base = base_of(settings, lambda *_: None)
        remove_leftovers(base)
        _follow_configuration(log, base, stop_event)
        announce(settings.home, NAME, "stopping", ports)
    finally:
        log.stop()
        withdraw(settings.home, NAME)


def _follow_configuration(log: ConfigurationLog, base: Base, stop_event: threading.Event) -> None:
    """Run a thread for each watch, so that a slow server does not delay the others."""
    threads: dict[str, _WatchThread] = {}
    digest = None
    while not stop_event.is_set():
        config = log.configuration_in_force()
        if config is not None and config.digest != digest:
            digest = config.digest
            _align_threads(threads, watchers(config, base, os.environ), log)
        stop_event.wait(_LOOK_S)
    for thread in threads.values():
        thread.end()
    deadline = time.monotonic() + _END_S
    for thread in threads.values():
        thread.join(max(0.0, deadline - time.monotonic()))


def _align_threads(
    threads: dict[str, "_WatchThread"], target_watchers: Sequence[Watcher], log: ConfigurationLog
) -> None:
    """End removed and changed watches, and begin new ones."""
    watcher_by_name = {watcher.watch.watch: watcher for watcher in target_watchers}
    for name, thread in list(threads.items()):
        if name not in watcher_by_name or watcher_by_name[name].watch != thread.watch:
            threads.pop(name).end()
    for name, watcher in watcher_by_name.items():
        if name not in threads:
            threads[name] = _WatchThread(watcher, log)
            threads[name].start()


class _WatchThread(threading.Thread):
    """Thread that looks at one watch, until it is ended."""

    def __init__(self, watcher: Watcher, log: ConfigurationLog) -> None:
        super().__init__(name=f"watch-{watcher.watch.watch}", daemon=True)
        self.watch: model.Watch = watcher.watch
        self._watcher = watcher
        self._configurations = log
        self._end_event = threading.Event()

    def end(self) -> None:
        """Take no further file; a partly taken one is continued at the next start."""
        self._end_event.set()

    def run(self) -> None:
        interval_s = duration_ms(self._watcher.watch.every) / 1_000
        while not self._end_event.wait(self._pause_s(interval_s)):
            config = self._configurations.configuration_in_force()
            if config is not None:
                self._look(config)

    def _pause_s(self, interval_s: float) -> float:
        """Return the time until the next look, at which a resting file may be complete."""
        if self._watcher.waiting_count and self._watcher.watch.ready.by == "rest":
            return min(interval_s, max(_LOOK_S, self._watcher.readiness.rest_s))
        return interval_s

    def _look(self, config: Configuration) -> None:
        try:
            for report in self._watcher.look(config):
                is_fine = report.state == "done" and report.warning is UNSET
                log_result = _log.info if is_fine else _log.warning
                log_result(
                    f"{report.file}: {report.sent:,} rows sent, {report.rejected:,} rejected",
                    extra={
                        "state": report.state,
                        "reason": report.reason,
                        "warning": report.warning or None,
                    },
                )
                if self._end_event.is_set():
                    return
        except Exception:  # the thread must go on, because no other one looks at this watch
            _log.exception(f"watch {self._watcher.watch.watch} failed, and is tried again")
