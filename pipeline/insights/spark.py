"""Queries on Spark, translated from DuckDB's SQL by sqlglot.

The session follows Spark's own configuration (`SPARK_CONF_DIR`, `PYSPARK_SUBMIT_ARGS`): a cluster,
or all processors of this machine.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import sqlglot
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sql_functions
from pyspark.sql.types import DataType, LongType, StructType
from sqlglot import exp

from pipeline.insights.engines import QueryError, QueryRow
from pipeline.insights.tables import (
    CheckedRelation,
    Column,
    Table,
    TableError,
    select_cells,
    typed_cells,
)
from pipeline.insights.topic_files import TABLES, missing_newer_columns, require_columns

_ERROR: Final = "kafka_error"
_PLACE: Final = ("kafka_partition", "kafka_offset")
_TIMES: Final = ("decided_at", "at", "occurred_at", "received_at")
_TYPES: Final = {"string": "VARCHAR", "timestamp": "TIMESTAMP WITH TIME ZONE"}
"""Names in DuckDB of the Spark types that cells are read from."""

_MAX_PLAN_CHARACTERS: Final = 100_000
"""Most characters of a query's plan as text, which Spark writes for every query; without a limit,
long plans fill the memory."""

_FUNCTIONS: Final = {"EPOCH_US": "UNIX_MICROS", "HASH": "XXHASH64"}


class SparkQueries:
    """Queries on a session of Spark; defined relations are cached."""

    def __init__(self, session: SparkSession) -> None:
        self._session = session

    def open_topic(self, folder: Path, topic: str, needed_columns: tuple[str, ...]) -> str:
        view = topic.replace(".", "_")
        place = folder / topic
        try:
            table = self._read_topic(folder, topic)
        except PySparkException as error:
            hint = f"kairos replay --topic {topic} --out {place}"
            raise TableError(
                f"{place}: {_first_line(error)}; a topic is made by: {hint}"
            ) from error
        require_columns(place, topic, needed_columns, table.columns)
        for name in missing_newer_columns(topic, table.columns):
            table = table.withColumn(name, sql_functions.lit(None).cast("string"))
        table.createOrReplaceTempView(view)
        return view

    def _read_topic(self, folder: Path, topic: str) -> DataFrame:
        """Return the topic as `kairos replay` writes it, or as the Iceberg sink does: without the
        Kafka columns, with times in epoch milliseconds."""
        if not str(folder).startswith(TABLES):
            return self._session.read.option("mergeSchema", "true").parquet(str(folder / topic))
        namespace = str(folder).removeprefix(TABLES)
        table = self._session.table(f"{namespace}.{topic.replace('.', '_')}")
        if _ERROR not in table.columns:
            table = table.withColumn(_ERROR, sql_functions.lit(None).cast("string"))
        for name in _PLACE:
            if name not in table.columns:
                table = table.withColumn(name, sql_functions.lit(0).cast("long"))
        for field in table.schema.fields:
            table = table.withColumn(field.name, _convert_times(field.name, field.dataType))
        return table

    def open_table(
        self,
        file: Path,
        columns: Sequence[Column],
        zone: str | None = None,
        ordered: bool = True,
    ) -> Table:
        """Make the view `checked` of Parquet, a file or a folder. Raises TableError."""
        if file.suffix.lower() not in (".parquet", ""):
            raise TableError(f"{file}: Spark reads tables in Parquet: convert it")
        try:
            table = self._session.read.parquet(str(file))
        except PySparkException as error:
            raise TableError(f"{file}: {_first_line(error)}") from error
        types = {
            field.name: _TYPES.get(
                field.dataType.simpleString(), field.dataType.simpleString().upper()
            )
            for field in table.schema.fields
        }
        cells = typed_cells(file, types, columns, zone)
        numbered_rows = table.withColumn("row", sql_functions.monotonically_increasing_id() + 1)
        numbered_rows.createOrReplaceTempView("raw")
        relation = CheckedRelation("raw", "row", self.rows, lambda row: f"{file}: row {row:,}")
        rows = relation.check(cells)
        self.define_view("checked", f"SELECT {select_cells(cells)}, row FROM raw")
        return Table("checked", frozenset(types), rows, relation.place)

    def define(self, name: str, sql: str) -> None:
        self._query(sql).cache().createOrReplaceTempView(name)

    def define_view(self, name: str, sql: str) -> None:
        self._query(sql).createOrReplaceTempView(name)

    def load(self, name: str, table: pa.Table) -> None:
        self._session.createDataFrame(table).createOrReplaceTempView(name)

    def rows(self, sql: str) -> list[QueryRow]:
        return [_plain_row(row) for row in self._collect(sql, lambda frame: frame.collect())]

    def arrow(self, sql: str) -> pa.Table:
        return self._collect(sql, lambda frame: frame.toArrow())

    def _query(self, sql: str) -> DataFrame:
        frame: DataFrame = self._collect(sql, lambda frame: frame)
        return frame

    def _collect(self, sql: str, take: Callable[[DataFrame], Any]) -> Any:
        try:
            return take(self._session.sql(translate(sql)))
        except PySparkException as error:
            raise QueryError(_first_line(error)) from error


def translate(sql: str) -> str:
    """Return a query of DuckDB's in Spark's SQL."""
    tree = sqlglot.parse_one(sql, read="duckdb")
    for node in reversed(list(tree.walk())):  # inner nodes before outer ones
        translated_node = _translate_node(node)
        if translated_node is not node:
            node.replace(translated_node)
    return str(tree.sql(dialect="spark"))


def _translate_node(node: Any) -> Any:
    """Translate the parts that sqlglot leaves unchanged."""
    match node:
        case exp.Anonymous():
            return _translate_function(node, node.name.upper(), node.expressions)
        case exp.UnixToTime() if not isinstance(node.this, exp.Literal):
            return exp.Anonymous(this="UNIX_MILLIS", expressions=[node.this])
        case exp.Length():
            return exp.ArraySize(this=node.this)
        case exp.ArrayAgg(this=exp.Order()):
            return node if isinstance(node.parent, exp.Filter) else _sorted_list(node.this, None)
        case exp.Filter(this=exp.ArrayAgg(this=exp.Order() as order)):
            return _sorted_list(order, node.expression)
        case exp.Bracket(expressions=[index]) if not isinstance(index, exp.Literal | exp.Slice):
            position = exp.cast(index, "int")
            return exp.Anonymous(this="TRY_ELEMENT_AT", expressions=[node.this, position])
        case exp.PercentileDisc(this=value, expression=share) if share is not None:
            order = exp.Order(expressions=[exp.Ordered(this=value)])
            return exp.WithinGroup(this=exp.PercentileDisc(this=share), expression=order)
        case exp.Window(this=exp.RowNumber()) if not node.args.get("order"):
            node.set("order", exp.Order(expressions=[exp.Literal.number(1)]))
    return node


def _translate_function(node: Any, name: str, arguments: Sequence[Any]) -> Any:
    if name == "TIMEZONE":
        return exp.Anonymous(this="TO_UTC_TIMESTAMP", expressions=[arguments[1], arguments[0]])
    if name == "LIST_SLICE":
        length = exp.paren(arguments[2]) - exp.paren(arguments[1]) + 1
        return exp.Anonymous(this="SLICE", expressions=[arguments[0], arguments[1], length])
    if name in _FUNCTIONS:
        return exp.Anonymous(this=_FUNCTIONS[name], expressions=arguments)
    return node


def _sorted_list(order: Any, condition: Any) -> Any:
    """Return SQL for a list in the order of its keys, since COLLECT_LIST of Spark keeps no
    order."""
    keys = [expression.this.sql(dialect="spark") for expression in order.expressions]
    fields = [f"'key{number}', {key}" for number, key in enumerate(keys)]
    value = order.this.sql(dialect="spark")
    filter_sql = "" if condition is None else f" FILTER({condition.sql(dialect='spark')})"
    list_sql = f"COLLECT_LIST(NAMED_STRUCT({', '.join(fields)}, 'value', {value})){filter_sql}"
    values = f"TRANSFORM(ARRAY_SORT({list_sql}), entry -> entry.value)"
    return sqlglot.parse_one(values, read="spark")


def _convert_times(name: str, kind: DataType) -> Any:
    """Return a column with its times in epoch milliseconds as times, also within a structure."""
    column = sql_functions.col(name)
    if name in _TIMES and isinstance(kind, LongType):
        return sql_functions.timestamp_millis(column)
    if isinstance(kind, StructType):
        for field in kind.fields:
            if field.name in _TIMES and isinstance(field.dataType, LongType):
                time = sql_functions.timestamp_millis(column[field.name])
                column = column.withField(field.name, time)
    return column


def _plain_row(row: Any) -> QueryRow:
    return tuple(list(cell) if isinstance(cell, list) else cell for cell in row)


def _first_line(error: PySparkException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def open_spark() -> Iterator[SparkQueries]:
    """Use the active session, or open one and end it at the end of the context."""
    session = SparkSession.getActiveSession()
    if session is not None:
        yield SparkQueries(session)
        return
    builder = (
        SparkSession.builder.appName("kairos insights")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.maxPlanStringLength", _MAX_PLAN_CHARACTERS)
    )
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield SparkQueries(session)
    finally:
        session.stop()
