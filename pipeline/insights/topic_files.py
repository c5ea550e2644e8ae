"""Topics that `kairos replay` wrote as Parquet, as views of DuckDB."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import duckdb

from pipeline.insights.tables import TableError

DECISIONS: Final = "decisions"
SEGMENTED: Final = "interactions.segmented"

TABLES: Final = "tables:"
"""Prefix of a catalog's namespace, which Spark reads in place of a folder: `tables:lake.kairos`."""

_NO_TIME_TYPE: Final = re.compile(
    r"\b(decided_at|occurred_at|received_at|at)\"? (?!TIMESTAMP)[A-Z]"
)
"""Field of times that has another type, in the text of a column's type."""

_NEWER_COLUMNS: Final = {DECISIONS: ("arm",)}


def open_topic(
    connection: duckdb.DuckDBPyConnection, folder: Path, topic: str, needed_columns: tuple[str, ...]
) -> str:
    """Make a view of FOLDER/TOPIC and return its name. Text columns that older replays lack are
    NULL. Raises TableError where files are missing or damaged, or lack a needed column."""
    place = folder / topic
    files = sorted(place.glob("day=*/part-*.parquet")) or sorted(place.glob("*.parquet"))
    if not files:
        hint = f"kairos replay --topic {topic} --out {place}"
        raise TableError(f"{place}: has no Parquet files; make them by: {hint}")
    view = topic.replace(".", "_")
    names = [str(file) for file in files]
    try:
        relation = connection.read_parquet(names, union_by_name=True, hive_partitioning=False)
    except duckdb.Error as error:
        raise _damage_error(connection, files, error) from error
    require_columns(files[0], topic, needed_columns, relation.columns)
    for name, kind in zip(relation.columns, relation.types, strict=True):
        if name in needed_columns and (match := _NO_TIME_TYPE.search(f"{name} {kind}")):
            raise TableError(
                f"{files[0]}: {match[1]} in the column {name!r} is not a time: is it as `kairos "
                "replay` writes it?"
            )
    extra_columns = [
        f"CAST(NULL AS VARCHAR) AS {column}"
        for column in missing_newer_columns(topic, relation.columns)
    ]
    connection.execute(f"DROP VIEW IF EXISTS {view}")
    relation.project(", ".join(("*", *extra_columns))).create_view(view)
    return view


def require_columns(
    place: Path, topic: str, needed_columns: Sequence[str], columns: Sequence[str]
) -> None:
    """Raise TableError, which names `place`, if a needed column is missing in `columns`."""
    for name in needed_columns:
        if name not in columns:
            raise TableError(f"{place}: has no column {name!r}: is it the topic {topic}?")


def missing_newer_columns(topic: str, columns: Sequence[str]) -> list[str]:
    """Return the columns that newer versions of a topic have and that its files lack."""
    return [name for name in _NEWER_COLUMNS.get(topic, ()) if name not in columns]


def _damage_error(
    connection: duckdb.DuckDBPyConnection, files: list[Path], error: duckdb.Error
) -> TableError:
    """Return the error for the first file that cannot be opened by itself."""
    for file in files:
        try:
            connection.read_parquet(str(file))
        except duckdb.Error as file_error:
            return TableError(f"{file}: cannot be read: {str(file_error).splitlines()[0]}")
    return TableError(f"{files[0].parent}: {str(error).splitlines()[0]}")
