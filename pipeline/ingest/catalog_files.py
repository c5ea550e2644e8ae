"""Files with tables of catalogues: a whole table replaces the catalogue's items."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final, TypeAlias

from msgspec.structs import replace

from pipeline.adapters.catalog_table import load_items
from pipeline.adapters.config_follower import ConfigurationLogError
from pipeline.adapters.config_log import open_configuration_log
from pipeline.config import model
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.home.codec import open_codec
from pipeline.row_files.row import UnreadableError
from pipeline.settings import Settings

_APPLIED_BY: Final = "kairos ingest"
_MAX_FAULTS: Final = 3
_LOCK: Final = Lock()
"""Lock held while a catalogue is put into force, so that concurrent changes do not undo each
other."""

ApplyCatalog: TypeAlias = Callable[[model.Catalog], None]
"""Function that puts the items of a catalogue into force."""


def read_catalog(catalog: model.Catalog, file: Path, suffix: str) -> model.Catalog:
    """Return the catalogue with the items of a file. Raises UnreadableError.

    `suffix`: of the file's original name, which determines the format.
    """
    table = file.with_name(f"{file.name}{'.parquet' if suffix == '.parquet' else '.csv'}")
    table.unlink(missing_ok=True)
    table.hardlink_to(file)
    result = load_items(replace(catalog, table=table.name, recipes=None), file.parent)
    if isinstance(result, list):
        messages = "; ".join(
            f"line {fault.line}: {fault.message}" for fault in result[:_MAX_FAULTS]
        )
        ending = f", and {len(result) - _MAX_FAULTS:,} more" if len(result) > _MAX_FAULTS else ""
        raise UnreadableError(f"it is not a table of {catalog.catalog}: {messages}{ending}")
    return replace(catalog, items=result.items)


def catalog_applier(settings: Settings) -> ApplyCatalog:
    """Return the function that puts a catalogue's items into force, as a new version of the latest
    configuration."""

    def apply(catalog: model.Catalog) -> None:
        with _LOCK, open_configuration_log(settings.kafka(), open_codec(settings)) as log:
            config = log.configuration_in_force()
            if config is None:
                raise ConfigurationLogError("there is no configuration")
            bundle = with_catalog(config, catalog)
            log.apply(bundle, _APPLIED_BY)

    return apply


def with_catalog(config: Configuration, replacement: model.Catalog) -> model.Bundle:
    """Return the bundle with the items of a catalogue. Raises UnreadableError if the configuration
    is invalid with them."""
    catalogs = tuple(
        replace(catalog, items=replacement.items)
        if catalog.catalog == replacement.catalog
        else catalog
        for catalog in config.bundle.catalogs
    )
    bundle = replace(config.bundle, catalogs=catalogs)
    config_or_faults = compile_bundle(bundle)
    if not isinstance(config_or_faults, Configuration):
        message = config_or_faults[0].message
        raise UnreadableError(f"the configuration would be invalid with it: {message}")
    return bundle
