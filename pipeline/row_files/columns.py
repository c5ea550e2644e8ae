"""Conversion of a table's columns to records: a dotted column is a nested field.

Examples: `properties.price`, `context.page.url`, `identifiers.email`.

A column `properties`, `traits`, `context`, `identifiers` or `lists` may hold JSON, and others may
add to it. No column overwrites another, and none is dropped: an unknown one is refused by name,
before any row is read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec

from pipeline.conditions import did_you_mean
from pipeline.intake.identifiers import id_text
from pipeline.row_files.fault import Fault
from pipeline.row_files.mapping import DELETE, IGNORE, TIME, RowMapping
from pipeline.row_files.row import FileFormat, UnreadableError

OBJECTS: Final = frozenset({"properties", "traits", "context", "identifiers", "lists"})
DETAILS: Final = ("properties.", "traits.", "context.traits.")
"""Prefixes of columns with values of any type."""

CONSENT: Final = "context.consent."
"""Prefix of columns with true or false."""

_MESSAGE: Final = frozenset(
    {"type", "messageId", "userId", "anonymousId", "previousId", "groupId", "event", "name",
     "category", "timestamp", "originalTimestamp", "sentAt", "writeKey"}
)  # fmt: skip
_INTERACTION: Final = frozenset(
    {"kind", "name", "event_id", "channel", "source", "occurred_at", "received_at"}
)
_OPEN_OBJECTS: Final = frozenset({"properties", "traits", "identifiers", "lists"})
"""Objects with fields of any name."""

_CONTEXT: Final = frozenset({"ip", "locale", "timezone", "campaign"})
_MESSAGE_CONTEXT: Final = _CONTEXT | {
    "userAgent", "page.url", "page.referrer", "device.id", "traits", "externalIds",
    "consent.categoryPreferences",
}  # fmt: skip
_INTERACTION_CONTEXT: Final = _CONTEXT | {"user_agent", "url", "referrer", "consent"}

_Record: TypeAlias = dict[str, Any]

_MAX_CACHED_NAMES: Final = 4_096
_MAX_SHOWN_NAMES: Final = 8

_INVISIBLE_CHARACTERS: Final = "\ufeff\u200b\u200c\u200d\u2060"
"""Invisible characters, which editors and web pages leave beside words."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of a table, each by the name of its field; None: the column is left out.

    `columns_of` makes them.
    """

    names: tuple[str | None, ...]
    mapping: RowMapping | None = None

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Columns with identifiers."""
        return tuple(name for name in self.names if name and name.startswith("identifiers."))

    def record(self, values: Iterable[tuple[str, object]]) -> bytes | Fault:
        """Return the JSON of a row; `values`: pairs of column and value, without empty ones."""
        record: _Record = {}
        for name, value in values:
            fault = _put(record, name, value)
            if fault is not None:
                return fault
        fault = self._complete(record, self.mapping) if self.mapping else None
        if fault is not None:
            return fault
        identifier_values = record.get("identifiers")
        if isinstance(identifier_values, dict):
            record["identifiers"] = [
                {"namespace": space, "value": id_text(value) or value}
                for space, value in identifier_values.items()
            ]
        try:
            return msgspec.json.encode(record)
        except (OverflowError, UnicodeEncodeError, RecursionError) as error:
            return Fault("invalid_value", None, f"a value cannot be written as JSON: {error}")

    def _complete(self, record: _Record, mapping: RowMapping) -> Fault | None:
        """Add the mapping's fixed fields, and parse the time and the mark of a deletion; return
        the fault, if there is one."""
        if (
            mapping.delete_values
            and str(record.pop(DELETE, "")).strip().lower() in mapping.delete_values
        ):
            details = (name for name in self.names if name and name.startswith("properties."))
            record["properties"] = {name.removeprefix("properties."): None for name in details}
        fault = mapping.permissions.complete(record) if mapping.permissions else None
        if fault is not None:
            return fault
        for field, value in mapping.defaults.items():
            record.setdefault(field, value)
        if "identifiers" not in record:
            column = self.identifiers[0] if self.identifiers else None
            return Fault("missing_identifier", column, "the row has no identifier")
        time = record.get(TIME)
        if isinstance(time, str):
            time_ms = mapping.times.epoch_ms(time)
            if time_ms is not None:
                record[TIME] = time_ms
            elif mapping.times.formats:
                formats = " or ".join(mapping.times.formats)
                return Fault("invalid_time", TIME, f"{time[:60]!r} does not match {formats}")
        return None


def columns_of(header: Sequence[str], file_format: FileFormat) -> Columns:
    """Check the header. Raises UnreadableError for a column that is repeated, nested in another,
    or unknown."""
    names = [strip_name(name) for name in header]
    if file_format.mapping is not None:
        return _map_columns(names, file_format.mapping)
    ignored_columns = file_format.ignored_columns
    used_names = [name for name in names if name and name not in ignored_columns]
    for problem in _problems(used_names):
        raise UnreadableError(problem)
    return Columns(tuple(name if name in set(used_names) else None for name in names))


def _map_columns(header: Sequence[str], mapping: RowMapping) -> Columns:
    missing_column = mapping.missing_column(header)
    if missing_column is not None:
        ending = ", ..." if len(header) > _MAX_SHOWN_NAMES else ""
        shown_names = ", ".join(repr(name[:40]) for name in header[:_MAX_SHOWN_NAMES]) + ending
        message = (
            f"it has no column {missing_column!r}, which the watch maps; "
            f"it begins with {shown_names}"
        )
        raise UnreadableError(message)
    fields = [mapping.target(name) if name else IGNORE for name in header]
    for name, field in zip(header, fields, strict=True):
        if field is None:
            hint = did_you_mean(name, sorted(mapping.targets))
            raise UnreadableError(
                f"column {name!r} is unknown, and would be lost ({hint}): "
                "map it in the watch's `columns`, to a field or to `ignore`"
            )
        if field != IGNORE and fields.count(field) > 1:
            raise UnreadableError(f"column {name!r} and another are both mapped to {field}")
    return Columns(tuple(None if field == IGNORE else field for field in fields), mapping)


def strip_name(name: str) -> str:
    """Return a name without the spaces and invisible characters around it."""
    return name.strip().strip(_INVISIBLE_CHARACTERS).strip()


def count_known_columns(names: Iterable[str]) -> int:
    """Count the columns with a meaning; the delimiter that gives the most is the best guess."""
    stripped_names = [strip_name(name) for name in names]
    return sum(_means_something(name, stripped_names) for name in stripped_names)


def _problems(names: Sequence[str]) -> Iterator[str]:
    if not names:
        yield "it has no columns"
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        yield f"column {duplicates[0]!r} appears twice"
    for name in names:
        if not _means_something(name, names):
            yield _explain_unknown(name, names)
    for name in names:
        ancestors = _parts(name)[:-1]
        for length in range(1, len(ancestors) + 1):
            ancestor = ".".join(ancestors[:length])
            if ancestor in names and ancestor not in OBJECTS:
                yield f"column {name!r} is part of {ancestor!r}, which is a column of its own"
    if "identifiers" in names and any(name.startswith("identifiers.") for name in names):
        yield "give identifiers in one column or in several: identifiers, or identifiers.NAME"


def _explain_unknown(name: str, names: Sequence[str]) -> str:
    hint = did_you_mean(name, sorted(_fields(names) | OBJECTS))
    return (
        f"column {name!r} is unknown, and would be lost ({hint}): rename it to properties.{name}, "
        f"or leave it out (`kairos send --ignore {name}`)"
    )


def _fields(names: Iterable[str]) -> frozenset[str]:
    """Return the fields that a table may have, by its kind of rows.

    Interactions have a column `kind` or `identifiers`, messages `type`; a table may hold both.
    """
    first_parts = {name.partition(".")[0] for name in names}
    if "type" in first_parts:
        return _MESSAGE | _INTERACTION if "kind" in first_parts else _MESSAGE
    return _INTERACTION if first_parts & {"kind", "identifiers"} else _MESSAGE | _INTERACTION


def _means_something(name: str, names: Iterable[str]) -> bool:
    first_part, dot, other_parts = name.partition(".")
    fields = _fields(names)
    if not dot:
        return name in fields or name in OBJECTS
    if first_part in _OPEN_OBJECTS:
        return bool(other_parts)
    if first_part != "context":
        return False
    context_fields = (_MESSAGE_CONTEXT if "type" in fields else frozenset()) | (
        _INTERACTION_CONTEXT if "kind" in fields else frozenset()
    )
    return any(
        other_parts == field or other_parts.startswith(f"{field}.") for field in context_fields
    )


@lru_cache(maxsize=_MAX_CACHED_NAMES)
def _parts(name: str) -> tuple[str, ...]:
    """Split a name at its dots, except within properties and traits, which are flattened later."""
    if name.startswith(DETAILS):
        section = next(prefix for prefix in DETAILS if name.startswith(prefix))
        return (*section.removesuffix(".").split("."), name.removeprefix(section))
    first_part, dot, other_parts = name.partition(".")
    return (
        (first_part, other_parts)
        if dot and first_part in ("identifiers", "lists")
        else tuple(name.split("."))
    )


def _put(record: _Record, name: str, value: object) -> Fault | None:
    if name in OBJECTS:
        return _merge(record, name, _parse_json(value))
    *path, last_part = _parts(name)
    section = record
    for part in path:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            return Fault("invalid_field", name, f"{part} is not an object, so has no part {name}")
    if last_part in section:
        return Fault("given_twice", name, f"{name} is given twice")
    section[last_part] = value
    return None


def _merge(record: _Record, name: str, value: object) -> Fault | None:
    """Merge the JSON of a section (`properties`…) with the values of its other columns;
    return the fault, if there is one."""
    section = record.get(name)
    if section is None:
        record[name] = value
        return None
    if not isinstance(value, Mapping):
        return Fault("invalid_field", name, f"{name} is not an object")
    duplicates = sorted(section.keys() & value.keys())
    if duplicates:
        return Fault(
            "given_twice", f"{name}.{duplicates[0]}", f"{name}.{duplicates[0]} is given twice"
        )
    section.update(value)
    return None


def _parse_json(value: object) -> object:
    """Parse JSON; other text is unchanged, and refused later if an object is needed."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value
