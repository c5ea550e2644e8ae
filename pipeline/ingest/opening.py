"""Watchers for the configured watches."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from pipeline.config import model
from pipeline.config.compile import Configuration
from pipeline.config.feeds import complete_by_feed
from pipeline.ingest.places import WatchedPlace, open_folder
from pipeline.ingest.secret_values import pgp_key
from pipeline.ingest.sftp import open_server, server_label
from pipeline.ingest.taking import Base
from pipeline.ingest.watcher import Watcher


def watchers(
    config: Configuration, base: Base, environment: Mapping[str, str]
) -> tuple[Watcher, ...]:
    """Return a watcher for each watch; `environment` contains the named secrets."""
    return tuple(_watcher(watch, base, environment) for watch in config.bundle.ingest.watches)


def _watcher(watch: model.Watch, base: Base, environment: Mapping[str, str]) -> Watcher:
    label, open_place = _place(watch, environment)
    return Watcher(
        complete_by_feed(watch), base, label, open_place, lambda: pgp_key(watch, environment)
    )


def _place(
    watch: model.Watch, environment: Mapping[str, str]
) -> tuple[str, Callable[[], AbstractContextManager[WatchedPlace]]]:
    server = watch.sftp
    if server is not None:
        return server_label(server), lambda: open_server(server, environment)
    folder = Path(watch.folder or "")
    return str(folder), lambda: open_folder(folder)
