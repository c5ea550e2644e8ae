"""Engines of insights' queries: DuckDB here, or Spark where one machine is too small.

Queries are written once, in DuckDB's SQL, and end in small statistics. For Spark they are
translated by sqlglot, so they use what both have: no macros, no lambdas, no types of DuckDB's own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import duckdb

from pipeline.insights.tables import Engine, TableError
from pipeline.insights.topic_files import open_topic

EngineName: TypeAlias = Literal["duckdb", "spark"]
ENGINES: Final[tuple[EngineName, ...]] = ("duckdb", "spark")

QueryRow: TypeAlias = tuple[Any, ...]


class Queries(Protocol):
    """Views and queries, in DuckDB's SQL."""

    def open_topic(self, folder: Path, topic: str, needs: tuple[str, ...]) -> str:
        """Make a view of a replayed topic in FOLDER/TOPIC; return its name."""

    def define(self, name: str, sql: str) -> None:
        """Keep the result of a query under a name."""

    def rows(self, sql: str) -> list[QueryRow]:
        """Return the rows of a query."""


class DuckQueries:
    """Queries on a connection of DuckDB."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def open_topic(self, folder: Path, topic: str, needs: tuple[str, ...]) -> str:
        return open_topic(self._connection, folder, topic, needs)

    def define(self, name: str, sql: str) -> None:
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}")

    def rows(self, sql: str) -> list[QueryRow]:
        return self._connection.execute(sql).fetchall()


@contextmanager
def open_queries(name: EngineName, limits: Engine) -> Iterator[Queries]:
    """Open an engine; `limits` are DuckDB's. Raises TableError where Spark is not installed."""
    if name == "duckdb":
        with limits.open() as connection:
            yield DuckQueries(connection)
        return
    from pipeline.insights.spark import open_spark

    try:
        with open_spark() as queries:
            yield queries
    except ImportError as error:
        raise TableError(
            f"--engine spark: {error.name} is missing: install kairos-rtim[spark]"
        ) from error
