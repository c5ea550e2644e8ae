"""Tables of catalogues that come as files: a whole table replaces the catalogue's items."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final, TypeAlias

from msgspec.structs import replace

from pipeline.adapters.catalog_table import with_items
from pipeline.adapters.config_follower import ConfigurationLogError
from pipeline.adapters.config_log import open_configuration_log
from pipeline.config import model
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.home.codec import open_codec
from pipeline.row_files.row import UnreadableError
from pipeline.settings import Settings

_APPLIED_BY: Final = "kairos ingest"
_SHOWN: Final = 3
_LOCK: Final = Lock()
"""Held while a catalogue is put in force, so that two that come at once do not undo each other."""

ApplyCatalog: TypeAlias = Callable[[model.Catalog], None]
"""Puts the items of a catalogue in force."""


def read_catalog(catalog: model.Catalog, file: Path, suffix: str) -> model.Catalog:
    """Return the catalogue with the items of a file. Raises UnreadableError.

    `suffix`: of the name that it came by, which determines the format.
    """
    table = file.with_name(f"{file.name}{'.parquet' if suffix == '.parquet' else '.csv'}")
    table.unlink(missing_ok=True)
    table.hardlink_to(file)
    found = with_items(replace(catalog, table=table.name, recipes=None), file.parent)
    if isinstance(found, list):
        first = "; ".join(f"line {one.line}: {one.message}" for one in found[:_SHOWN])
        more = f", and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
        raise UnreadableError(f"it is no table of {catalog.catalog}: {first}{more}")
    return replace(catalog, items=found.items)


def catalog_applier(settings: Settings) -> ApplyCatalog:
    """Return what puts items in force, in the configuration that is in force by then."""

    def apply(found: model.Catalog) -> None:
        with _LOCK, open_configuration_log(settings.kafka(), open_codec(settings)) as log:
            latest = log.latest()
            if latest is None:
                raise ConfigurationLogError("there is no configuration")
            bundle = with_catalog(latest, found)
            log.apply(bundle, _APPLIED_BY)

    return apply


def with_catalog(config: Configuration, found: model.Catalog) -> model.Bundle:
    """Return the bundle with the items of a catalogue. Raises UnreadableError where they do not go
    with the rest."""
    catalogs = tuple(
        replace(one, items=found.items) if one.catalog == found.catalog else one
        for one in config.bundle.catalogs
    )
    bundle = replace(config.bundle, catalogs=catalogs)
    made = compile_bundle(bundle)
    if not isinstance(made, Configuration):
        raise UnreadableError(f"the configuration does not go with it: {made[0].message}")
    return bundle
