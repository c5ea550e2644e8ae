"""Mappings: which field of an Interaction each column of a file is, how its times are written."""

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
    """Notation of times. `formats` are tried in their order; `zone` is that of times that do not
    say theirs."""

    zone: tzinfo
    formats: tuple[str, ...] = ()

    def epoch_ms(self, text: str) -> int | None:
        """Return a time that is written in digits as epoch ms; None: it is written otherwise."""
        return _epoch_ms(text.strip(), self)


@dataclass(frozen=True, slots=True)
class RowMapping:
    """Mapping of rows. `targets`: the field that each column is; `prefixes`: of columns that begin
    so, the longest first, and what their fields begin with. `optional`: columns that files may
    lack. `fixed`: fields of rows that have none of their own. `deletes`: what the column `delete`
    says, in lower case, where traits are to be cleared. `permissions`: reader of a consent or
    suppression list."""

    targets: Mapping[str, str]
    prefixes: tuple[tuple[str, str], ...]
    fixed: Mapping[str, str]
    times: TimeNotation
    deletes: frozenset[str]
    optional: frozenset[str] = frozenset()
    permissions: PermissionReader | None = None

    def target(self, column: str) -> str | None:
        """Return the field that a column is, or `ignore`; None: the mapping does not say."""
        known = self.targets.get(column)
        if known is not None:
            return known
        for prefix, to in self.prefixes:
            if column.startswith(prefix) and (to == IGNORE or len(column) > len(prefix)):
                return to if to == IGNORE else to + column.removeprefix(prefix)
        return None

    def missing(self, header: Iterable[str]) -> str | None:
        """Return the first column that is mapped and not there."""
        given = self.optional.union(header)
        return next(
            (one for one, to in self.targets.items() if to != IGNORE and one not in given), None
        )

    def column(self, field: str | None) -> str | None:
        """Return the column that a field of an Interaction comes from, to name it in errors."""
        if field is None:
            return None
        by_target = {to: one for one, to in self.targets.items() if to != IGNORE}
        if field in by_target:
            return by_target[field]
        for prefix, to in self.prefixes:
            if to != IGNORE and field.startswith(to):
                return prefix + field.removeprefix(to)
        return field


def row_mapping(watch: model.Watch) -> RowMapping | None:
    """Return the mapping of a watch, with its feed; None: its columns are named as they are."""
    if not watch.columns:
        return None
    zoned = zone(watch.time.zone)
    assert zoned is not None  # checked with the configuration
    exact = {one: _field(to) for one, to in watch.columns.items() if not one.endswith("*")}
    prefixes = [
        (one.removesuffix("*"), _field(to).removesuffix("*"))
        for one, to in watch.columns.items()
        if one.endswith("*")
    ]
    rules = watch.permissions
    fixed = {"kind": watch.kind, "name": watch.name}
    return RowMapping(
        targets=exact,
        prefixes=tuple(sorted(prefixes, key=lambda one: -len(one[0]))),
        fixed={field: value for field, value in fixed.items() if value is not None},
        times=TimeNotation(zoned, watch.time.formats),
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
    for written in notation.formats:
        try:
            moment = datetime.strptime(text, written)
        except ValueError:
            continue
        return _ms(moment, notation.zone)
    if notation.formats:
        return None
    try:
        return _ms(datetime.fromisoformat(text), notation.zone)
    except ValueError:
        return None


def _ms(moment: datetime, zoned: tzinfo) -> int | None:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=zoned)
    try:
        return round(aware.timestamp() * 1_000)
    except (OverflowError, ValueError):
        return None
