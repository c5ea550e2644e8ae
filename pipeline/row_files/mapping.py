"""Mappings: the Interaction field of each column of a file, and the notation of its times."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Final

from pipeline.config import model
from pipeline.config.feeds import optional_columns
from pipeline.config.zones import zone
from pipeline.row_files.permissions import PermissionReader, permission_reader

IGNORE: Final = "ignore"
DELETE: Final = "delete"
TIME: Final = "occurred_at"

_FIELDS: Final = {"time": TIME, "id": "event_id"}
_MAX_CACHED_TIMES: Final = 16_384


@dataclass(frozen=True, slots=True)
class TimeNotation:
    """Notation of times. `formats` are tried in their order; `zone` applies to times without
    one."""

    zone: tzinfo
    formats: tuple[str, ...] = ()

    def epoch_ms(self, text: str) -> int | None:
        """Return a time in this notation as epoch ms; None for a text in another one."""
        return _epoch_ms(text.strip(), self)


@dataclass(frozen=True, slots=True)
class RowMapping:
    """Mapping of a file's columns to fields.

    `targets`: field by column. `prefixes`: pairs of a column's prefix and its field's prefix, the
    longest first. `defaults`: fields of rows that lack them. `delete_values`: values of the column
    `delete`, in lower case, that clear the row's traits. `optional_columns`: columns that files may
    lack. `permissions`: reader of a consent or suppression list.
    """

    targets: Mapping[str, str]
    prefixes: tuple[tuple[str, str], ...]
    defaults: Mapping[str, str]
    times: TimeNotation
    delete_values: frozenset[str]
    optional_columns: frozenset[str] = frozenset()
    permissions: PermissionReader | None = None

    def target(self, column: str) -> str | None:
        """Return the field of a column, or `ignore`; None: it is not mapped."""
        field = self.targets.get(column)
        if field is not None:
            return field
        for prefix, field_prefix in self.prefixes:
            if column.startswith(prefix) and (field_prefix == IGNORE or len(column) > len(prefix)):
                return (
                    field_prefix
                    if field_prefix == IGNORE
                    else field_prefix + column.removeprefix(prefix)
                )
        return None

    def missing_column(self, header: Iterable[str]) -> str | None:
        """Return the first mapped column that is missing; None if all are there."""
        columns = self.optional_columns.union(header)
        return next(
            (
                column
                for column, field in self.targets.items()
                if field != IGNORE and column not in columns
            ),
            None,
        )

    def column(self, field: str | None) -> str | None:
        """Return the column of an Interaction's field, for errors; an unmapped field, and None, as
        they are."""
        if field is None:
            return None
        by_target = {target: column for column, target in self.targets.items() if target != IGNORE}
        if field in by_target:
            return by_target[field]
        for prefix, target in self.prefixes:
            if target != IGNORE and field.startswith(target):
                return prefix + field.removeprefix(target)
        return field


def row_mapping(watch: model.Watch) -> RowMapping | None:
    """Return the mapping of a watch, with its feed; None: its columns are named like fields."""
    if not watch.columns:
        return None
    time_zone = zone(watch.time.zone)
    assert time_zone is not None  # checked with the configuration
    targets = {
        column: _field(target)
        for column, target in watch.columns.items()
        if not column.endswith("*")
    }
    prefixes = [
        (column.removesuffix("*"), _field(target).removesuffix("*"))
        for column, target in watch.columns.items()
        if column.endswith("*")
    ]
    rules = watch.permissions
    defaults = {"kind": watch.kind, "name": watch.name}
    return RowMapping(
        targets=targets,
        prefixes=tuple(sorted(prefixes, key=lambda prefix: -len(prefix[0]))),
        defaults={field: value for field, value in defaults.items() if value is not None},
        times=TimeNotation(time_zone, watch.time.formats),
        delete_values=frozenset(value.lower() for value in watch.delete),
        optional_columns=optional_columns(watch),
        permissions=None if rules is None else permission_reader(rules),
    )


def _field(target: str) -> str:
    """Return the field of an Interaction; traits are the properties of an identify."""
    if target.startswith("traits."):
        return "properties." + target.removeprefix("traits.")
    return _FIELDS.get(target, target)


@lru_cache(maxsize=_MAX_CACHED_TIMES)
def _epoch_ms(text: str, notation: TimeNotation) -> int | None:
    for time_format in notation.formats:
        try:
            moment = datetime.strptime(text, time_format)
        except ValueError:
            continue
        return _ms(moment, notation.zone)
    if notation.formats:
        return None
    try:
        return _ms(datetime.fromisoformat(text), notation.zone)
    except ValueError:
        return None


def _ms(moment: datetime, time_zone: tzinfo) -> int | None:
    aware_moment = moment if moment.tzinfo else moment.replace(tzinfo=time_zone)
    try:
        return round(aware_moment.timestamp() * 1_000)
    except (OverflowError, ValueError):
        return None
