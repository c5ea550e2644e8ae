"""Avro records as columns of Arrow.

Records become structs, arrays become lists, and maps with values of one type become maps. A field
with several types (a property's value) becomes JSON text, as in the export of profiles:
`properties->>'price'` in DuckDB. Times, the fields of type long documented as epoch milliseconds,
become timestamps in UTC.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec
import pyarrow as pa

Converter: TypeAlias = Callable[[Any], Any]

_SCALARS: Final[Mapping[str, pa.DataType]] = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
}
_TIME: Final = pa.timestamp("ms", tz="UTC")
_TIME_WORDS: Final = "epoch milliseconds"


@dataclass(frozen=True, slots=True)
class ArrowColumn:
    """Type of a column; `convert` converts the Avro reader's values, None if they fit as they
    are."""

    kind: pa.DataType
    convert: Converter | None = None


_JSON: Final = ArrowColumn(pa.string(), lambda value: msgspec.json.encode(value).decode())


def columns_of(schema: Mapping[str, Any]) -> dict[str, ArrowColumn]:
    """Return the columns of a record's fields, by name."""
    return _ColumnReader().fields(schema)


class _ColumnReader:
    """Reader of schemas, which resolves records defined earlier by their short names."""

    def __init__(self) -> None:
        self._records: dict[str, ArrowColumn] = {}

    def fields(self, record: Mapping[str, Any]) -> dict[str, ArrowColumn]:
        return {
            field["name"]: self._column(field["type"], _TIME_WORDS in field.get("doc", "").lower())
            for field in record["fields"]
        }

    def _column(self, schema: Any, is_time: bool) -> ArrowColumn:
        match schema:
            case "long" if is_time:
                return ArrowColumn(_TIME)
            case str(name):
                return (
                    ArrowColumn(_SCALARS[name])
                    if name in _SCALARS
                    else self._records[_short_name(name)]
                )
            case list(branches):
                types = [branch for branch in branches if branch != "null"]
                return self._column(types[0], is_time) if len(types) == 1 else _JSON
            case {"type": "record"}:
                return self._record(schema)
            case {"type": "array", "items": items}:
                return _list(self._column(items, is_time))
            case {"type": "map", "values": values}:
                return _map(self._column(values, is_time))
            case {"type": inner_schema}:
                return self._column(inner_schema, is_time)
        raise ValueError(f"the Avro type {schema!r} has no column type")

    def _record(self, schema: Mapping[str, Any]) -> ArrowColumn:
        fields = self.fields(schema)
        kind = pa.struct([(name, field.kind) for name, field in fields.items()])
        column = ArrowColumn(kind, record_converter(fields))
        self._records[_short_name(schema["name"])] = column
        return column


def record_converter(columns: Mapping[str, ArrowColumn]) -> Converter | None:
    """Return the function that converts a record in place; None if no field needs conversion."""
    converters = [
        (name, column.convert) for name, column in columns.items() if column.convert is not None
    ]
    if not converters:
        return None

    def convert(record: dict[str, Any]) -> dict[str, Any]:
        for name, convert_field in converters:
            value = record[name]
            if value is not None:
                record[name] = convert_field(value)
        return record

    return convert


def _list(items: ArrowColumn) -> ArrowColumn:
    convert_item = items.convert
    convert = (
        None if convert_item is None else lambda values: [convert_item(value) for value in values]
    )
    return ArrowColumn(pa.list_(items.kind), convert)


def _map(values: ArrowColumn) -> ArrowColumn:
    convert_value = values.convert
    if values is _JSON or convert_value is None:
        return _JSON if values is _JSON else ArrowColumn(pa.map_(pa.string(), values.kind))
    return ArrowColumn(
        pa.map_(pa.string(), values.kind),
        lambda value: {key: convert_value(element) for key, element in value.items()},
    )


def _short_name(name: str) -> str:
    return name.rpartition(".")[2]
