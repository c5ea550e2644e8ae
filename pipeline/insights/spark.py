"""Queries on Spark, translated from DuckDB's SQL by sqlglot.

The session is what Spark's own configuration says (`SPARK_CONF_DIR`, `PYSPARK_SUBMIT_ARGS`): a
cluster, or all processors of this machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.insights.engines import QueryRow
from pipeline.insights.tables import TableError
from pipeline.insights.topic_files import missing_newer

if TYPE_CHECKING:  # an extra, which need not be there
    from pyspark.sql import DataFrame, SparkSession

TABLES: Final = "tables:"
"""Begins the name of a catalog's namespace instead of a folder, such as `tables:lake.kairos`."""

_ERROR: Final = "kafka_error"
_TIME: Final = "decided_at"


class SparkQueries:
    """Queries on a session of Spark; what is defined is cached."""

    def __init__(self, session: "SparkSession") -> None:
        self._session = session

    def open_topic(self, folder: Path, topic: str, needs: tuple[str, ...]) -> str:
        from pyspark.errors import PySparkException
        from pyspark.sql import functions as sql_of

        view = topic.replace(".", "_")
        place = folder / topic
        try:
            table = self._table(folder, topic)
        except PySparkException as error:
            hint = f"kairos replay --topic {topic} --out {place}"
            raise TableError(
                f"{place}: {str(error).splitlines()[0]}; a topic is made by: {hint}"
            ) from error
        missing = [name for name in needs if name not in table.columns]
        if missing:
            raise TableError(f"{place}: has no column {missing[0]!r}: is it the topic {topic}?")
        for name in missing_newer(topic, table.columns):
            table = table.withColumn(name, sql_of.lit(None).cast("string"))
        table.createOrReplaceTempView(view)
        return view

    def _table(self, folder: Path, topic: str) -> "DataFrame":
        """Return the topic as `kairos replay` writes it, or as Iceberg's sink does: without columns
        of its place in Kafka, with times in epoch milliseconds."""
        from pyspark.sql import functions as sql_of
        from pyspark.sql.types import LongType

        if not str(folder).startswith(TABLES):
            return self._session.read.option("mergeSchema", "true").parquet(str(folder / topic))
        namespace = str(folder).removeprefix(TABLES)
        table = self._session.table(f"{namespace}.{topic.replace('.', '_')}")
        if _ERROR not in table.columns:
            table = table.withColumn(_ERROR, sql_of.lit(None).cast("string"))
        if _TIME in table.columns and isinstance(table.schema[_TIME].dataType, LongType):
            table = table.withColumn(_TIME, sql_of.timestamp_millis(sql_of.col(_TIME)))
        return table

    def define(self, name: str, sql: str) -> None:
        self._session.sql(translate(sql)).cache().createOrReplaceTempView(name)

    def rows(self, sql: str) -> list[QueryRow]:
        return [tuple(row) for row in self._session.sql(translate(sql)).collect()]


def translate(sql: str) -> str:
    """Return a query of DuckDB's in Spark's SQL."""
    import sqlglot

    [query] = sqlglot.transpile(sql, read="duckdb", write="spark")
    return str(query)


@contextmanager
def open_spark() -> Iterator[SparkQueries]:
    """Open a session, or use the one that there is; end it if it was opened here."""
    import sqlglot  # noqa: F401 - to say now that it is missing
    from pyspark.sql import SparkSession

    there = SparkSession.getActiveSession()
    if there is not None:
        yield SparkQueries(there)
        return
    builder = (
        SparkSession.builder.appName("kairos insights")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
    )
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield SparkQueries(session)
    finally:
        session.stop()
