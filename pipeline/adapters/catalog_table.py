"""Tables of catalogues: CSV or Parquet, every cell checked; a fault names file and line."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from pipeline.adapters.table_file import (
    TableFault,
    TableFaults,
    TableRow,
    TextTable,
    column_faults,
    read_table,
)
from pipeline.conditions import did_you_mean
from pipeline.config.dates import end_ms, start_ms
from pipeline.config.footers import MAX_LINES, FooterRule
from pipeline.config.model import Catalog, CatalogItem, ItemColumns
from pipeline.config.odd_texts import (
    ambiguous_amount_remedy,
    id_fault,
    number_remedy,
    serial_date,
    text_fault,
)

_MAX_AMOUNT: Final = 1_000_000_000
_MAX_FAULTS: Final = 100
_MAX_ID_CHARACTERS: Final = 128
_RECIPES: Final = ("recipe", "item", "related", "score")
_FOOTER: Final = (
    "looks like a total or a mark of the end, not like one more item: take the line out, or put an "
    "item of that name above the last one"
)


def load_items(catalog: Catalog, folder: Path) -> Catalog | list[TableFault]:
    """Return the catalogue with the items of its table, and its recipes; or their first faults."""
    items = _read_items(catalog, folder)
    recipes = _read_recipes(folder, catalog.recipes)
    faults = [*(items if isinstance(items, list) else ())]
    faults += recipes if isinstance(recipes, tuple) else ()
    if faults:
        return faults
    assert isinstance(items, tuple)
    assert isinstance(recipes, dict)
    return replace(catalog, items=items, related=recipes)


def _read_items(catalog: Catalog, folder: Path) -> tuple[CatalogItem, ...] | list[TableFault]:
    table = read_table(folder, catalog.table)
    if isinstance(table, tuple):
        return _first_faults(table)
    faults = [*_missing_columns(table, catalog.columns), *column_faults(table)]
    if faults:
        return faults
    items = list(_items(table, catalog))
    faults = [item for item in items if isinstance(item, TableFault)]
    return _first_faults(faults) or tuple(item for item in items if isinstance(item, CatalogItem))


def warn_of_similar_ids(catalog: Catalog, folder: Path) -> Iterator[TableFault]:
    """Yield a warning for each row of a valid catalogue whose id differs from an earlier one only
    in its case: these are two items, perhaps by mistake."""
    counts = Counter(item.id.casefold() for item in catalog.items)
    if len(counts) == len(catalog.items):
        return
    table, column = read_table(folder, catalog.table), catalog.columns.id
    assert isinstance(table, TextTable)  # the catalogue is valid
    first_rows: dict[str, TableRow] = {}
    for row in table.rows:
        name = row.cells[column]
        if counts[name.casefold()] < 2:
            continue
        first_row = first_rows.setdefault(name.casefold(), row)
        if first_row is not row:
            first_name = first_row.cells[column]
            message = (
                f"{column} {name!r} differs only in its case from {first_name!r} on line "
                f"{first_row.line}: "
            )
            remedy = "they are two items; if they are one, write one row for both"
            yield TableFault(table.file, row.line, message + remedy)


def _first_faults(faults: Sequence[TableFault]) -> list[TableFault]:
    """Return the first faults, and one more with the number of further faults."""
    faults_to_show = list(faults[:_MAX_FAULTS])
    if len(faults) > _MAX_FAULTS:
        next_fault = faults[_MAX_FAULTS]
        message = f"and {len(faults) - _MAX_FAULTS:,} more faults from here on"
        faults_to_show.append(TableFault(next_fault.file, next_fault.line, message))
    return faults_to_show


def write_recipes(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a table of recipes, whose rows are recipe, item, related and score."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_RECIPES)
        writer.writerows(rows)


def _missing_columns(table: TextTable, columns: ItemColumns) -> Iterator[TableFault]:
    names = [columns.id, columns.price, columns.value, columns.stock, columns.starts, columns.ends]
    for name in (*names, *(columns.attributes or ())):
        if name is not None and name not in table.columns:
            message = f"there is no column {name!r}: {did_you_mean(name, table.columns)}"
            yield TableFault(table.file, table.header_line, message)


def _items(table: TextTable, catalog: Catalog) -> Iterator[CatalogItem | TableFault]:
    columns = catalog.columns
    reader = _ItemReader(table, catalog)
    lines: dict[str, int] = {}
    footer = _footer(table, columns.id)
    for row in table.rows:
        name = row.cells[columns.id]
        if row.line in footer:
            yield TableFault(table.file, row.line, f"{columns.id}: {name!r} {_FOOTER}")
            continue
        if name in lines:
            message = f"{columns.id} {name!r} is on line {lines[name]} too: an item has one row"
            yield TableFault(table.file, row.line, message)
            continue
        lines[name] = row.line
        try:
            item = reader.item(row)
        except ValueError as error:
            yield TableFault(table.file, row.line, str(error))
            continue
        if item is not None:
            yield item


def _footer(table: TextTable, key: str) -> frozenset[int]:
    """Return the lines of the table's footer."""
    rule = FooterRule([table.columns.index(key)], len(table.columns))
    start = len(table.rows)
    while start and _may_be_footer(rule, table.rows[start - 1]):
        start -= 1
    if not start or len(table.rows) - start > MAX_LINES:
        return frozenset()
    for row in table.rows[:start]:
        cells = tuple(row.cells.values())
        rule.is_ambiguous = rule.is_ambiguous or rule.resembles_footer(cells, str)
        rule.add(cells)
    return frozenset(
        row.line
        for row in table.rows[start:]
        if not rule.has_no_identity(cells := tuple(row.cells.values())) and rule.is_footer(cells)
    )


def _may_be_footer(rule: FooterRule, row: TableRow) -> bool:
    """Return whether a row may belong to the footer: by its id, or without one."""
    cells = tuple(row.cells.values())
    return rule.resembles_footer(cells, str) or rule.has_no_identity(cells)


class _ItemReader:
    """Reader of the rows of one table as items of its catalogue."""

    def __init__(self, table: TextTable, catalog: Catalog) -> None:
        self._columns = columns = catalog.columns
        self._margin = catalog.margin
        self._number_columns = table.number_columns
        self._attributes = _attributes(table, columns)
        self._numeric_names = {name for name in self._attributes if _is_numeric(table, name)}

    def item(self, row: TableRow) -> CatalogItem | None:
        """Return the item; None where it is out of stock. Raises ValueError."""
        columns = self._columns
        name = self._id(row)
        price, own_value = self._amount(row, columns.price), self._amount(row, columns.value)
        starts, ends = _date(row, columns.starts, start_ms), _date(row, columns.ends, end_ms)
        if starts is not None and ends is not None and start_ms(starts) >= end_ms(ends):
            raise ValueError(f"{columns.ends}: {ends} is before {starts}, when it starts")
        stock = self._amount(row, columns.stock)
        if stock is not None and not stock.is_integer():
            text = row.cells[columns.stock or ""]
            raise ValueError(f"{columns.stock}: {text!r} is not a whole number")
        attributes = self._attribute_values(row)
        if stock == 0:
            return None
        value = (
            own_value if own_value is not None else None if price is None else price * self._margin
        )
        count = None if stock is None else int(stock)
        return CatalogItem(name, value, starts, ends, attributes, count)

    def _id(self, row: TableRow) -> str:
        column = self._columns.id
        name = row.cells[column]
        fault = id_fault(name)
        if fault is not None:
            raise ValueError(f"{column}: {fault}")
        if not name or len(name) > _MAX_ID_CHARACTERS or not name.isprintable():
            raise ValueError(
                f"{column}: {name[:40]!r} is not an id of 1 to {_MAX_ID_CHARACTERS} characters"
            )
        return name

    def _amount(self, row: TableRow, column: str | None) -> float | None:
        text = row.cells[column] if column is not None else ""
        if column is None or not text:
            return None
        fault = text_fault(text)
        if fault is not None:
            raise ValueError(f"{column}: {fault}")
        try:
            amount = float(text)
        except ValueError:
            message = f"{text[:40]!r} is not a number: {number_remedy(text)}"
            raise ValueError(f"{column}: {message}") from None
        if not isfinite(amount) or amount < 0:
            raise ValueError(f"{column}: {text[:40]!r} is not a number of 0 or more")
        if amount > _MAX_AMOUNT:
            raise ValueError(f"{column}: {amount:g} is too large: {_MAX_AMOUNT:,} at most")
        remedy = None if column in self._number_columns else ambiguous_amount_remedy(text)
        if remedy is not None:
            message = "could be grouped by thousands"
            raise ValueError(f"{column}: {text!r} {message}: {remedy}")
        return amount

    def _attribute_values(self, row: TableRow) -> dict[str, str | float]:
        values: dict[str, str | float] = {}
        for name in self._attributes:
            text = row.cells[name]
            fault = text_fault(text)
            if fault is not None:
                raise ValueError(f"{name}: {fault}")
            if text:
                values[name] = float(text) if name in self._numeric_names else text
        return values


def _attributes(table: TextTable, columns: ItemColumns) -> tuple[str, ...]:
    if columns.attributes is not None:
        return columns.attributes
    other_columns = (columns.id, columns.value, columns.stock, columns.starts, columns.ends)
    return tuple(name for name in table.columns if name not in other_columns)


def _is_numeric(table: TextTable, name: str) -> bool:
    try:
        return all(isfinite(float(row.cells[name])) for row in table.rows if row.cells[name])
    except ValueError:
        return False


def _date(row: TableRow, column: str | None, read: Any) -> str | None:
    text = row.cells[column] if column is not None else ""
    if not text:
        return None
    try:
        read(text)
    except ValueError:
        date = serial_date(float(text)) if text.isdecimal() else None
        remedy = f"write {date or '2026-02-28 or 2026-02-28T09:00:00+01:00'}"
        raise ValueError(f"{column}: {text[:40]!r} is not a date: {remedy}") from None
    return text


def _read_recipes(
    folder: Path, name: str | None
) -> dict[str, dict[str, tuple[str, ...]]] | TableFaults:
    """Return the related items, the best first, by recipe and item; or the faults of the table."""
    if name is None:
        return {}
    table = read_table(folder, name)
    if isinstance(table, tuple):
        return table
    for column in _RECIPES:
        if column not in table.columns:
            names = ", ".join(_RECIPES)
            return (
                TableFault(
                    name,
                    table.header_line,
                    f"there is no column {column!r}: the columns are {names}",
                ),
            )
    related_items: dict[str, dict[str, list[tuple[float, str]]]] = {}
    for row in table.rows:
        score = _score(row.cells["score"])
        if score is None:
            message = f"score: {row.cells['score'][:40]!r} is not a number: "
            return (TableFault(name, row.line, message + number_remedy(row.cells["score"])),)
        items_of_recipe = related_items.setdefault(row.cells["recipe"], {})
        items_of_recipe.setdefault(row.cells["item"], []).append((-score, row.cells["related"]))
    return {
        recipe: {
            item: tuple(name for _, name in sorted(ranking)) for item, ranking in rankings.items()
        }
        for recipe, rankings in related_items.items()
    }


def _score(text: str) -> float | None:
    try:
        score = float(text)
    except ValueError:
        return None
    return score if isfinite(score) else None
