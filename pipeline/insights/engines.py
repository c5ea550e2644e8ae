"""Engines of insights' queries: DuckDB here, or Spark where one machine is too small.

Queries are written once, in DuckDB's SQL, and end in small statistics. For Spark they are
translated by sqlglot, so they use only functions that both engines have.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import duckdb
import pyarrow as pa

from pipeline.insights.tables import Column, Engine, Table, TableError, read_table
from pipeline.insights.topic_files import open_topic

EngineName: TypeAlias = Literal["duckdb", "spark"]
ENGINES: Final[tuple[EngineName, ...]] = ("duckdb", "spark")

QueryRow: TypeAlias = tuple[Any, ...]


class QueryError(TableError):
    """Raised when a query fails on the tables' contents, with the first line of the engine's
    message."""


class Queries(Protocol):
    """Views and queries, in DuckDB's SQL. All methods raise QueryError."""

    def open_topic(self, folder: Path, topic: str, needed_columns: tuple[str, ...]) -> str:
        """Make a view of a replayed topic in FOLDER/TOPIC, which must have the needed columns;
        return its name. Raises TableError."""

    def open_table(
        self,
        file: Path,
        columns: Sequence[Column],
        zone: str | None = None,
        ordered: bool = True,
    ) -> Table:
        """Make the view `checked` of an analyst's table with these columns and, if rows are
        `ordered`, their number `row`. Raises TableError for the first invalid cell."""

    def define(self, name: str, sql: str) -> None:
        """Store the result of a query as a temporary table of this name."""

    def define_view(self, name: str, sql: str) -> None:
        """Make a temporary view of a query."""

    def load(self, name: str, table: pa.Table) -> None:
        """Make a small table available to queries under a name."""

    def rows(self, sql: str) -> list[QueryRow]:
        """Return the rows of a query."""

    def arrow(self, sql: str) -> pa.Table:
        """Return the result of a query as a table of columns."""


class DuckQueries:
    """Queries on a connection of DuckDB. A shortage of memory is raised as
    duckdb.OutOfMemoryException, not as QueryError."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def open_topic(self, folder: Path, topic: str, needed_columns: tuple[str, ...]) -> str:
        return open_topic(self.connection, folder, topic, needed_columns)

    def open_table(
        self,
        file: Path,
        columns: Sequence[Column],
        zone: str | None = None,
        ordered: bool = True,
    ) -> Table:
        return read_table(self.connection, file, columns, zone, ordered)

    def define(self, name: str, sql: str) -> None:
        self._run(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}")

    def define_view(self, name: str, sql: str) -> None:
        self._run(f"CREATE OR REPLACE TEMP VIEW {name} AS {sql}")

    def load(self, name: str, table: pa.Table) -> None:
        self.connection.register(name, table)

    def rows(self, sql: str) -> list[QueryRow]:
        rows: list[QueryRow] = self._run(sql).fetchall()
        return rows

    def arrow(self, sql: str) -> pa.Table:
        return self._run(sql, self.connection.sql).to_arrow_table()

    def _run(self, sql: str, fetch: Callable[[str], Any] | None = None) -> Any:
        try:
            return (fetch or self.connection.execute)(sql)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise QueryError(str(error).splitlines()[0]) from error


@contextmanager
def open_duckdb(limits: Engine) -> Iterator[DuckQueries]:
    """Open DuckDB within its limits."""
    with limits.open() as connection:
        yield DuckQueries(connection)


@contextmanager
def open_queries(name: EngineName, limits: Engine) -> Iterator[Queries]:
    """Open an engine; `limits` are DuckDB's. Raises TableError where Spark is not installed."""
    if name == "duckdb":
        with open_duckdb(limits) as queries:
            yield queries
        return
    try:
        import sqlglot  # noqa: F401 - a missing package is reported before Spark starts

        from pipeline.insights.spark import open_spark
    except ImportError as error:
        raise TableError(
            f"--engine spark: {error.name} is missing: install kairos-rtim[spark]"
        ) from error
    with open_spark() as spark:
        yield spark
