"""Configuration of a stack: applied from a folder, or applied before."""

import getpass
from collections.abc import Callable
from pathlib import Path

from pipeline.adapters.config_log import open_configuration_log
from pipeline.config.compile import Configuration
from pipeline.home.applied_configuration import applied_configuration
from pipeline.home.codec import open_codec
from pipeline.settings import Settings


class NoConfigurationError(Exception):
    """Raised when there is no configuration, or the folder has errors; the message names the
    remedy."""


def ensure_configuration(settings: Settings) -> Configuration:
    """Return the configuration in force. Raises NoConfigurationError."""
    configuration = applied_configuration(settings)
    if configuration is None:
        raise NoConfigurationError(
            "no configuration was applied yet: `kairos up --config DIR` "
            "(deploy/demo is an example; `kairos config validate DIR` checks one)"
        )
    return configuration


def apply_folder(settings: Settings, folder: Path, say: Callable[[str], None]) -> bool:
    """Put the folder in force; return whether it replaced another. Raises NoConfigurationError."""
    # The YAML reader is slow to import, and only folders need it.
    from pipeline.adapters.config_artifacts import store_files
    from pipeline.adapters.config_files import load

    bundle = load(folder)
    if isinstance(bundle, list):
        raise NoConfigurationError("\n".join(map(str, bundle)))
    store_files(bundle, folder, settings.kept_artifacts())
    with open_configuration_log(settings.kafka(), open_codec(settings)) as log:
        is_first = log.configuration_in_force() is None
        result = log.apply(bundle, getpass.getuser())
    say(f"configuration {result.digest} {'applied' if result.changed else 'is in force already'}")
    return result.changed and not is_first
