"""Giving a stack its configuration: applied from a folder, or the one applied before."""

import getpass
from collections.abc import Callable
from pathlib import Path

from pipeline.adapters.avro import open_codec
from pipeline.adapters.config_artifacts import keep_files
from pipeline.adapters.config_files import load
from pipeline.adapters.config_log import ConfigurationLog
from pipeline.config.compile import Configuration
from pipeline.settings import Settings
from pipeline.stack.configuration import applied_configuration

_START_S = 30.0


class NoConfigurationError(Exception):
    """There is none to run by, or the folder has errors; the message says what to do."""


def ensure_configuration(
    settings: Settings, folder: Path | None, say: Callable[[str], None]
) -> Configuration:
    """Applies `folder` if one is given. Raises NoConfigurationError."""
    if folder is not None:
        _apply(settings, folder, say)
    configuration = applied_configuration(settings)
    if configuration is None:
        raise NoConfigurationError(
            "no configuration was applied yet: `kairos up --config DIR` "
            "(deploy/demo is an example; `kairos config validate DIR` checks one)"
        )
    return configuration


def _apply(settings: Settings, folder: Path, say: Callable[[str], None]) -> None:
    bundle = load(folder)
    if isinstance(bundle, list):
        raise NoConfigurationError("\n".join(map(str, bundle)))
    keep_files(bundle, folder, settings.kept_artifacts())
    log = ConfigurationLog(settings.kafka(), open_codec(settings))
    log.start(_START_S)
    try:
        first = log.latest() is None
        applied = log.apply(bundle, getpass.getuser())
    finally:
        log.stop()
    say(f"configuration {applied.digest} {'applied' if applied.changed else 'is in force already'}")
    if applied.changed and not first:
        say("`kairos config apply` the same folder to evaluate profiles and fill new metrics")
