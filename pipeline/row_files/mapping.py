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
_KEPT_TIMES: Final = 16_384


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
    longest first. `defaults`: fields of rows that lack them. `deletes`: values of the column
    `delete`, in lower case, that clear the row's traits. `optional`: columns that files may lack.
    `permissions`: reader of a consent or suppression list.
    """

    targets: Mapping[str, str]
    prefixes: tuple[tuple[str, str], ...]
    defaults: Mapping[str, str]
    times: TimeNotation
    deletes: frozenset[str]
    optional: frozenset[str] = frozenset()
    permissions: PermissionReader | None = None

    def target(self, column: str) -> str | None:
        """Return the field of a column, or `ignore`; None: it is not mapped."""
        field = self.targets.get(column)
        if field is not None:
            return field
        for prefix, to in self.prefixes:
            if column.startswith(prefix) and (to == IGNORE or len(column) > len(prefix)):
                return to if to == IGNORE else to + column.removeprefix(prefix)
        return None

    def missing(self, header: Iterable[str]) -> str | None:
        """Return the first mapped column that is missing."""
        columns = self.optional.union(header)
        return next(
            (
                column
                for column, to in self.targets.items()
                if to != IGNORE and column not in columns
            ),
            None,
        )

    def column(self, field: str | None) -> str | None:
        """Return the column of an Interaction's field, for errors."""
        if field is None:
            return None
        by_target = {to: column for column, to in self.targets.items() if to != IGNORE}
        if field in by_target:
            return by_target[field]
        for prefix, to in self.prefixes:
            if to != IGNORE and field.startswith(to):
                return prefix + field.removeprefix(to)
        return field


def row_mapping(watch: model.Watch) -> RowMapping | None:
    """Return the mapping of a watch, with its feed; None: its columns are named like fields."""
    if not watch.columns:
        return None
    time_zone = zone(watch.time.zone)
    assert time_zone is not None  # checked with the configuration
    targets = {
        column: _field(to) for column, to in watch.columns.items() if not column.endswith("*")
    }
    prefixes = [
        (column.removesuffix("*"), _field(to).removesuffix("*"))
        for column, to in watch.columns.items()
        if column.endswith("*")
    ]
    rules = watch.permissions
    defaults = {"kind": watch.kind, "name": watch.name}
    return RowMapping(
        targets=targets,
        prefixes=tuple(sorted(prefixes, key=lambda prefix: -len(prefix[0]))),
        defaults={field: value for field, value in defaults.items() if value is not None},
        times=TimeNotation(time_zone, watch.time.formats),
        deletes=frozenset(value.lower() for value in watch.delete),
        optional=optional_columns(watch),
        permissions=None if rules is None else permission_reader(rules),
    )


def _field(to: str) -> str:
    """Return the field of an Interaction; traits are the properties of an identify."""
    if to.startswith("traits."):
        return "properties." + to.removeprefix("traits.")
    return _FIELDS.get(to, to)


@lru_cache(maxsize=_KEPT_TIMES)
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
    aware = moment if moment.tzinfo else moment.replace(tzinfo=time_zone)
    try:
        return round(aware.timestamp() * 1_000)
    except (OverflowError, ValueError):
        return None
