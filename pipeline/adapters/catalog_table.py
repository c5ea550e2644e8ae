"""Tables of catalogues: CSV or Parquet, every cell checked; a fault names file and line."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from pipeline.adapters.folder_files import Unreadable, find_file
from pipeline.conditions import did_you_mean
from pipeline.config.dates import end_ms, start_ms
from pipeline.config.model import Catalog, CatalogItem, ItemColumns

_MOST_BYTES: Final = 50_000_000
_MOST_ITEMS: Final = 50_000
_MOST_STOCK: Final = 1_000_000_000
_LONGEST_ID: Final = 128
_RECIPES: Final = ("recipe", "item", "related", "score")


@dataclass(frozen=True, slots=True)
class TableFault:
    """Fault of a table; `line` counts from 1, of Parquet it is the row."""

    file: str
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _RawTable:
    file: str
    columns: tuple[str, ...]
    rows: tuple[_Row, ...]


def with_items(catalog: Catalog, folder: Path) -> Catalog | list[TableFault]:
    """Return the catalogue with the items of its table, and its recipes; or all faults."""
    table = _read(folder, catalog.table)
    if isinstance(table, TableFault):
        return [table]
    faults = [*_column_faults(table, catalog.columns)]
    items: list[CatalogItem] = []
    if not faults:
        for one in _items(table, catalog):
            (faults if isinstance(one, TableFault) else items).append(one)  # type: ignore[arg-type]
    related = _recipes(folder, catalog.recipes)
    if isinstance(related, TableFault):
        faults.append(related)
        related = {}
    return faults or replace(catalog, items=tuple(items), related=related)


def write_recipes(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a table of recipes, whose rows are recipe, item, related and score."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_RECIPES)
        writer.writerows(rows)


def _read(folder: Path, name: str) -> _RawTable | TableFault:
    path = find_file(folder, name, _MOST_BYTES)
    if isinstance(path, Unreadable):
        return TableFault(name, 1, f"this file {path.why}")
    read = {".csv": _read_csv, ".parquet": _read_parquet}.get(path.suffix.lower())
    if read is None:
        return TableFault(name, 1, "a table's name ends in .csv or .parquet")
    table = read(name, path)
    if isinstance(table, _RawTable) and not table.rows:
        return TableFault(name, 1, "there are no rows")
    if isinstance(table, _RawTable) and len(table.rows) > _MOST_ITEMS:
        return TableFault(name, _MOST_ITEMS + 2, f"more than {_MOST_ITEMS:,} rows")
    return table


def _read_csv(name: str, path: Path) -> _RawTable | TableFault:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        return TableFault(name, line, "not in UTF-8: save the file as UTF-8")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        header = [one.strip() for one in next(reader, [])]
        twice = next((one for one in header if header.count(one) > 1), None)
        if twice is not None:
            return TableFault(name, 1, f"column {twice!r} occurs twice")
        rows, line = [], reader.line_num + 1
        for cells in reader:
            if cells:
                if len(cells) != len(header):
                    what = f"{len(cells)} cells where the header has {len(header)}"
                    return TableFault(name, line, what)
                values = [one.strip() for one in cells]
                rows.append(_Row(line, dict(zip(header, values, strict=True))))
            line = reader.line_num + 1
    except csv.Error as error:
        return TableFault(name, reader.line_num, str(error))
    return _RawTable(name, tuple(header), tuple(rows))


def _read_parquet(name: str, path: Path) -> _RawTable | TableFault:
    import pyarrow as pa  # it takes a quarter of a second to import
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        return TableFault(name, 1, f"no whole Parquet file: {str(error).splitlines()[0]}")
    columns = tuple(table.column_names)
    rows = (
        _Row(number, {column: _cell(value) for column, value in one.items()})
        for number, one in enumerate(table.to_pylist(), 1)
    )
    return _RawTable(name, columns, tuple(rows))


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _column_faults(table: _RawTable, columns: ItemColumns) -> Iterator[TableFault]:
    named = [columns.id, columns.price, columns.value, columns.stock, columns.starts, columns.ends]
    for name in (*named, *(columns.attributes or ())):
        if name is not None and name not in table.columns:
            what = f"there is no column {name!r}: {did_you_mean(name, table.columns)}"
            yield TableFault(table.file, 1, what)
    for name in table.columns:
        if not name:
            yield TableFault(table.file, 1, "a column has no name")
        elif all(not row.cells[name] for row in table.rows):
            what = f"column {name!r} is empty in every row: fill it, or take it out"
            yield TableFault(table.file, 1, what)


def _items(table: _RawTable, catalog: Catalog) -> Iterator[CatalogItem | TableFault]:
    columns = catalog.columns
    attributes = _attributes(table, columns)
    numeric = {name for name in attributes if _is_numeric(table, name)}
    lines: dict[str, int] = {}
    for row in table.rows:
        name = row.cells[columns.id]
        if name in lines:
            what = f"{columns.id} {name!r} is on line {lines[name]} too: an item has one row"
            yield TableFault(table.file, row.line, what)
            continue
        lines[name] = row.line
        try:
            if not name or len(name) > _LONGEST_ID or not name.isprintable():
                raise ValueError(
                    f"{columns.id}: {name[:40]!r} is no id of 1 to {_LONGEST_ID} signs"
                )
            item = _item(row, catalog, attributes, numeric)
        except ValueError as error:
            yield TableFault(table.file, row.line, str(error))
            continue
        if item is not None:
            yield item


def _item(
    row: _Row, catalog: Catalog, attributes: Sequence[str], numeric: set[str]
) -> CatalogItem | None:
    """Return the item; None where it is out of stock. Raises ValueError."""
    columns = catalog.columns
    price, own = _amount(row, columns.price), _amount(row, columns.value)
    starts, ends = _date(row, columns.starts, start_ms), _date(row, columns.ends, end_ms)
    if starts is not None and ends is not None and start_ms(starts) >= end_ms(ends):
        raise ValueError(f"{columns.ends}: {ends} is before {starts}, where it starts")
    stock = _amount(row, columns.stock)
    if stock is not None and not stock.is_integer():
        raise ValueError(f"{columns.stock}: {row.cells[columns.stock or '']!r} is no whole number")
    if stock is not None and stock > _MOST_STOCK:
        raise ValueError(f"{columns.stock}: {stock:g} is too many: {_MOST_STOCK:,} at most")
    if stock == 0:
        return None
    value = own if own is not None else None if price is None else price * catalog.margin
    known: dict[str, str | float] = {
        name: float(row.cells[name]) if name in numeric else row.cells[name]
        for name in attributes
        if row.cells[name]
    }
    left = None if stock is None else int(stock)
    return CatalogItem(row.cells[columns.id], value, starts, ends, known, left)


def _attributes(table: _RawTable, columns: ItemColumns) -> tuple[str, ...]:
    if columns.attributes is not None:
        return columns.attributes
    others = (columns.id, columns.value, columns.stock, columns.starts, columns.ends)
    return tuple(name for name in table.columns if name not in others)


def _is_numeric(table: _RawTable, name: str) -> bool:
    try:
        return all(isfinite(float(row.cells[name])) for row in table.rows if row.cells[name])
    except ValueError:
        return False


def _amount(row: _Row, column: str | None) -> float | None:
    text = row.cells[column] if column is not None else ""
    if not text:
        return None
    try:
        amount = float(text)
    except ValueError:
        raise ValueError(f"{column}: {text[:40]!r} is no number (write 1234.50)") from None
    if not isfinite(amount) or amount < 0:
        raise ValueError(f"{column}: {text[:40]!r} is no number of 0 or more")
    return amount


def _date(row: _Row, column: str | None, read: Any) -> str | None:
    text = row.cells[column] if column is not None else ""
    if not text:
        return None
    try:
        read(text)
    except ValueError:
        what = f"{column}: {text[:40]!r} is no date: write 2026-02-28 or 2026-02-28T09:00:00+01:00"
        raise ValueError(what) from None
    return text


def _recipes(folder: Path, name: str | None) -> dict[str, dict[str, tuple[str, ...]]] | TableFault:
    """Return the related items, the best first, by recipe and item."""
    if name is None:
        return {}
    table = _read(folder, name)
    if isinstance(table, TableFault):
        return table
    for column in _RECIPES:
        if column not in table.columns:
            return TableFault(name, 1, f"there is no column {column!r}: has {_RECIPES}")
    found: dict[str, dict[str, list[tuple[float, str]]]] = {}
    for row in table.rows:
        try:
            score = float(row.cells["score"])
        except ValueError:
            return TableFault(name, row.line, f"score: {row.cells['score']!r} is no number")
        of_recipe = found.setdefault(row.cells["recipe"], {})
        of_recipe.setdefault(row.cells["item"], []).append((-score, row.cells["related"]))
    return {
        recipe: {item: tuple(name for _, name in sorted(each)) for item, each in of.items()}
        for recipe, of in found.items()
    }
