"""Tables that analysts may give to `kairos insights`, each odd in one way."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]
Rows = list[Row]

_START: Final = 1_704_067_200_000
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_NUMBERS: Final = (
    "value", "conversions", "nulls", "reward", "propensity", "target_propensity", "q_logged",
    "q_target",
)  # fmt: skip
_ROW_COUNT: Final = 100_000

PLAN: Final = """
journey: onboarding
goal: {when: {name: Opened}, window: 20d}
enter: {when: {name: Started}}
steps:
  - {step: terms, mandatory: true, reached: {name: Terms}, within: 3d}
  - any_order:
      - {step: income, mandatory: true, reached: {name: Income}}
      - {step: photo, reached: {name: Photo}}
"""


def _touches() -> Rows:
    rows: Rows = []
    for customer in range(12):
        for place in range(5):
            channel = ("mail", "web", "ads")[(customer + place) % 3]
            rows.append(_touch(customer, place, "touch", channel, 0.0))
        if customer % 2:
            rows.append(_touch(customer, 6, "conversion", None, 10.5))
    return rows


def _touch(customer: int, place: int, kind: str, channel: str | None, value: float) -> Row:
    return {
        "profile_id": f"p{customer}",
        "occurred_at": _START + customer * _DAY_MS + place * _HOUR_MS,
        "channel": channel,
        "kind": kind,
        "value": value,
        "event_id": f"{customer}-{place}",
    }


def _events() -> Rows:
    rows: Rows = []
    for customer in range(12):
        for place, name in enumerate(("Started", "Terms", "Income", "Photo", "Opened")):
            if name != "Opened" or customer % 2:
                at = _START + customer * _DAY_MS + place * _HOUR_MS
                channel = ("mail", "web")[(customer + place) % 2]
                rows.append(_event(f"p{customer}", at, name, channel, f"{customer}-{place}"))
    rows.append(_event("last", _START + 60 * _DAY_MS, "Started", "web", "last"))
    return rows


def _event(case: str, at: int, name: str, channel: str, event_id: str) -> Row:
    return {
        "case_id": case,
        "occurred_at": at,
        "name": name,
        "channel": channel,
        "event_id": event_id,
    }


def _prompts() -> Rows:
    return [
        {
            "case_id": f"p{customer}",
            "occurred_at": _START + customer * _DAY_MS + place * _HOUR_MS // 2,
            "step": step,
            "channel": ("mail", "nothing")[(customer + place) % 2],
            "message": f"{step}-mail",
            "offer": "o",
            "propensity": 0.5,
        }
        for customer in range(12)
        for place, step in enumerate(("terms", "income"))
    ]


def _paths() -> Rows:
    counts = (("mail > web", 2, 20.5, 3), ("web", 1, 5.0, 1), ("ads > ads", 0, 0.0, 2))
    return [
        {"path": path, "conversions": float(conversions), "value": value, "nulls": float(losses)}
        for path, conversions, value, losses in counts
    ]


def _log() -> Rows:
    return [
        {
            "reward": float(number % 2),
            "propensity": 0.5,
            "target_propensity": 0.25 + 0.5 * (number % 2),
            "q_logged": 0.5,
            "q_target": 0.5,
        }
        for number in range(40)
    ]


TABLES: Final[Mapping[str, Callable[[], Rows]]] = {
    "touches": _touches,
    "events": _events,
    "prompts": _prompts,
    "paths": _paths,
    "log": _log,
}
_TIME_TABLES: Final = frozenset(("touches", "events", "prompts"))
_NUMBER_TABLES: Final = frozenset(("touches", "prompts", "paths", "log"))
_ALL_TABLES: Final = frozenset(TABLES)


@dataclass(frozen=True)
class OddTable:
    """Kind of odd table. `write` makes the file of a table's rows and returns its name.

    `tables`: names of the tables that can be odd in this way. `message`: the expected message, by
    table or for all of them, with {file} for the file's name; None if the command answers; with
    `same`, as on the usual table. `form`: only the form of the file is odd;
    one command per table then suffices, since all commands have the same reader.
    """

    name: str
    write: Callable[[Path, Rows], Path]
    tables: frozenset[str] = _ALL_TABLES
    message: str | Mapping[str, str] | None = None
    same: bool = False
    form: bool = False

    def expected_words(self, table: str) -> str | None:
        """Return the expected message about the table; None if the command answers."""
        return self.message.get(table) if isinstance(self.message, Mapping) else self.message


def write_csv(place: Path, rows: Rows, header: Sequence[str] = (), **options: Any) -> Path:
    """Write PLACE.csv. `options`: `delimiter`, `encoding`, and `cell`, a function that returns the
    cell of a column's name and a value."""
    file = place.with_suffix(".csv")
    names = header or list(rows[0])
    cell = options.get("cell", lambda _, value: value)
    with file.open("w", newline="", encoding=options.get("encoding", "utf-8")) as output:
        lines = csv.writer(output, delimiter=options.get("delimiter", ","), lineterminator="\n")
        lines.writerow(names)
        lines.writerows([["" if row[name] is None else cell(name, row[name]) for name in names]
                         for row in rows])  # fmt: skip
    return file


def _write_ndjson(place: Path, rows: Rows, prefix: str = "") -> Path:
    file = place.with_suffix(".ndjson")
    file.write_text(prefix + "".join(json.dumps(row) + "\n" for row in rows))
    return file


def _write_parquet(place: Path, columns: Mapping[str, pa.Array]) -> Path:
    file = place.with_suffix(".parquet")
    pq.write_table(pa.table(dict(columns)), file)
    return file


def _columns(rows: Rows, **makers: Callable[[list[Any]], pa.Array]) -> dict[str, pa.Array]:
    """Return the columns; `times`, `numbers` and `texts` make those of their kind."""
    columns = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        is_text = any(isinstance(value, str) for value in values)
        kind = "times" if name == "occurred_at" else "numbers" if name in _NUMBERS else "texts"
        make = makers.get(kind, pa.array) if kind != "texts" or is_text else pa.array
        columns[name] = make(values)
    return columns


def _change_rows(rows: Rows, change: Callable[[Row], Row | None]) -> Rows:
    return [new for row in rows if (new := change(dict(row))) is not None]


def _cut(file: Path, share: float = 0.5) -> Path:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    return file


def _select_first_customer(rows: Rows) -> Rows:
    key = next(iter(rows[0]))
    return [row for row in rows if row[key] == rows[0][key]]


def _remove_conversion(row: Row) -> Row | None:
    if "reward" in row:
        return {**row, "reward": 0.0}
    if "conversions" in row:
        return {**row, "conversions": 0.0, "value": 0.0, "nulls": row["nulls"] + 1}
    return None if "conversion" in row.values() or "Opened" in row.values() else row


def _remove_zone(name: str, value: Any) -> Any:
    if name != "occurred_at":
        return value
    return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _set_last_number(rows: Rows, number: float) -> Rows:
    """Return the rows with `number` in the last row's first column of numbers."""
    name = next(column for column in rows[0] if column in _NUMBERS)
    return [*rows[:-1], {**rows[-1], name: number}]


def _add_separator(row: Row) -> Row:
    if row.get("channel"):
        row["channel"] += " > x"
    return row


def _multiply_rows(rows: Rows) -> Rows:
    """Return 100,000 rows, each with a channel (and a message) of its own."""
    copies: Rows = []
    for number in range(_ROW_COUNT):
        row = dict(rows[number % len(rows)])
        suffix = f"-{number // len(rows)}"
        for name in ("profile_id", "case_id", "event_id"):
            if name in row:
                row[name] += suffix
        if row.get("channel"):
            row["channel"] = f"channel {number}"
        if "message" in row:
            row["message"] = f"message {number}"
        if "path" in row:
            row["path"] = f"channel {number}"
        copies.append(row)
    return copies


def _cut_in_a_cell(place: Path, rows: Rows) -> Path:
    file = write_csv(place, rows)
    file.write_bytes(file.read_bytes() + b'"half')
    return file


def _cut_in_a_line(place: Path, rows: Rows) -> Path:
    file = write_csv(place, rows)
    text = file.read_text().rstrip("\n")
    file.write_text(text[: text.rfind(",")] if text.count("\n") else text)
    return file


def _list_columns(rows: Rows) -> dict[str, pa.Array]:
    """Return the columns with those of text, or of numbers where there is no text, as lists."""
    texts = {"texts": lambda values: pa.array([[value] for value in values])}
    numbers = {"numbers": texts["texts"]}
    return _columns(rows, **(texts if any("event_id" in row or "path" in row or "step" in row
                                          for row in rows) else numbers))  # fmt: skip


_LINES: Final = {name: len(make()) + 1 for name, make in TABLES.items()}
_FIRST_NUMBER: Final = {
    name: next((column for column in make()[0] if column in _NUMBERS), "")
    for name, make in TABLES.items()
}
_NO_ZONE_MESSAGE: Final = "occurred_at: '2024-01-01 00:00:00' has no time zone (--timezone ZONE)"


def _last_row_messages(words: str, place: str = ":{line}") -> dict[str, str]:
    """Return the messages about the first number in the last row, by table."""
    return {
        name: "{file}" + place.format(line=_LINES[name], row=_LINES[name] - 1)
        + f": {_FIRST_NUMBER[name]}: {words}"
        for name in _NUMBER_TABLES
    }  # fmt: skip


ODD_TABLES: Final = (
    OddTable(
        "empty", lambda place, rows: write_csv(place, [], list(rows[0])),
        message={"log": "{file}: has no rows"},
    ),
    OddTable(
        "without even a header", lambda place, rows: write_csv(place, [], [""]),
        message="{file}:1: has no header", form=True),
    OddTable("one customer", lambda place, rows: write_csv(place, _select_first_customer(rows))),
    OddTable("one row", lambda place, rows: write_csv(place, rows[:1])),
    OddTable(
        "no conversion",
        lambda place, rows: write_csv(place, _change_rows(rows, _remove_conversion)),
    ),
    OddTable(
        "times without a zone", lambda place, rows: write_csv(place, rows, cell=_remove_zone),
        _TIME_TABLES, "{file}:2: " + _NO_ZONE_MESSAGE,
    ),
    OddTable(
        "times without a zone in Parquet",
        lambda place, rows: _write_parquet(
            place, _columns(rows, times=lambda values: pa.array(values, pa.timestamp("ms")))
        ),
        _TIME_TABLES, "{file}: row 1: " + _NO_ZONE_MESSAGE, form=True),
    OddTable(
        "times in the wrong order", lambda place, rows: write_csv(place, rows[::-1]),
        _ALL_TABLES - {"prompts", "log"}, same=True,
    ),
    OddTable(
        "equal times",
        lambda place, rows: write_csv(
            place, _change_rows(rows, lambda row: {**row, "occurred_at": _START})
        ),
        _TIME_TABLES,
    ),
    OddTable(
        "times before 1970",
        lambda place, rows: write_csv(place, [*rows[:-1], {**rows[-1], "occurred_at": -5}]),
        _TIME_TABLES,
        {table: f"{{file}}:{_LINES[table]}: occurred_at: '-5' is not a time"
         for table in _TIME_TABLES},
        form=True,
    ),
    OddTable(
        "negative values", lambda place, rows: write_csv(place, _set_last_number(rows, -1.5)),
        frozenset(("touches", "paths")), _last_row_messages("'-1.5' is negative"), form=True),
    OddTable(
        "negative propensities",
        lambda place, rows: write_csv(place, [*rows[:-1], {**rows[-1], "propensity": -1.5}]),
        frozenset(("prompts", "log")),
        {table: f"{{file}}:{_LINES[table]}: propensity: '-1.5' is not above 0"
         for table in ("prompts", "log")}, form=True),
    OddTable(
        "values that are not numbers",
        lambda place, rows: write_csv(place, _set_last_number(rows, float("nan"))),
        _NUMBER_TABLES, _last_row_messages("'nan' is not a finite number"), form=True),
    OddTable(
        "infinite values",
        lambda place, rows: _write_parquet(place, _columns(_set_last_number(rows, float("inf")))),
        _NUMBER_TABLES, _last_row_messages("'inf' is not a finite number", ": row {row}"),
        form=True),
    OddTable(
        "repeated ids", lambda place, rows: write_csv(place, rows + rows[1:]),
        frozenset(("touches", "events")), same=True,
    ),
    OddTable("100,000 channels", lambda place, rows: write_csv(place, _multiply_rows(rows))),
    OddTable(
        "separator in names",
        lambda place, rows: write_csv(place, _change_rows(rows, _add_separator)),
        _TIME_TABLES,
    ),
    OddTable(
        "separator at an end",
        lambda place, rows: write_csv(place, [*rows, {**rows[0], "path": "mail > "}]),
        frozenset(("paths",)), "{file}:5: path: 'mail >' has a channel without a name", form=True),
    OddTable(
        "cut in a cell", _cut_in_a_cell,
        message="a quotation mark is never closed, or the file was cut there", form=True),
    OddTable(
        "cut in a line", _cut_in_a_line,
        message={name: f"{{file}}:{_LINES[name]}: has {len(make()[0]) - 1} columns instead of "
              f"{len(make()[0])}" for name, make in TABLES.items()}, form=True),
    OddTable(
        "cut in Parquet", lambda place, rows: _cut(_write_parquet(place, _columns(rows))),
        message="{file}: is damaged or was cut", form=True),
    OddTable(
        "cut in NDJSON", lambda place, rows: _cut(_write_ndjson(place, rows), 0.99),
        message="is not JSON", form=True),
    OddTable("NDJSON", _write_ndjson, same=True, form=True),
    OddTable(
        "NDJSON with a byte order mark",
        lambda place, rows: _write_ndjson(place, rows, "\ufeff"), same=True, form=True),
    OddTable(
        "texts in Parquet",
        lambda place, rows: _write_parquet(
            place,
            _columns(
                rows,
                times=lambda values: pa.array(map(str, values)),
                numbers=lambda values: pa.array(map(str, values)),
            ),
        ),
        same=True, form=True),
    OddTable(
        "decimals, categories and zones in Parquet",
        lambda place, rows: _write_parquet(
            place,
            _columns(
                rows,
                times=lambda values: pa.array(values, pa.timestamp("ms", tz="Europe/Madrid")),
                numbers=lambda values: pa.array([Decimal(str(value)) for value in values]),
                texts=lambda values: pa.array(values).dictionary_encode(),
            ),
        ),
        same=True, form=True),
    OddTable(
        "bytes in Parquet",
        lambda place, rows: _write_parquet(
            place,
            _columns(
                rows,
                texts=lambda texts: pa.array(
                    [text and text.encode() for text in texts], pa.binary()
                ),
            ),
        ),
        same=True, form=True),
    OddTable(
        "lists in Parquet", lambda place, rows: _write_parquet(place, _list_columns(rows)),
        message="is a list, not ", form=True),
    OddTable(
        "decimal commas",
        lambda place, rows: write_csv(
            place, rows, cell=lambda name, value: str(value).replace(".", ",") if name in _NUMBERS
            else value,
        ),
        _NUMBER_TABLES, "is not a finite number (a decimal comma: write a point)", form=True),
    OddTable(
        "semicolons", lambda place, rows: write_csv(place, rows, delimiter=";"),
        message="{file}:1: is separated by semicolons: separate it by commas", form=True),
    OddTable(
        "tabs", lambda place, rows: write_csv(place, rows, delimiter="\t"),
        message="{file}:1: is separated by tabs: separate it by commas", form=True),
    OddTable(
        "a byte order mark", lambda place, rows: write_csv(place, rows, encoding="utf-8-sig"),
        same=True, form=True),
    OddTable(
        "UTF-16", lambda place, rows: write_csv(place, rows, encoding="utf-16"),
        message="{file}:1: is not in UTF-8", form=True),
)  # fmt: skip
