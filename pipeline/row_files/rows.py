"""Reader of files of any format."""

from pathlib import Path

from pipeline.config import model
from pipeline.config.regex import Pattern, PatternProblem, pattern
from pipeline.row_files.delimited import delimited_rows
from pipeline.row_files.mapping import row_mapping
from pipeline.row_files.ndjson import ndjson_rows
from pipeline.row_files.parquet import parquet_file
from pipeline.row_files.row import FileFormat, FormatName, RowFile, UnreadableError


def open_rows(path: Path, file_format: FileFormat, kind: FormatName | None = None) -> RowFile:
    """Open a file. Raises UnreadableError when it cannot be read. `kind` defaults to the format
    by the name's suffix."""
    if not path.is_file():
        raise UnreadableError(f"{path} is not a file")
    kind = kind or kind_of(path.name)
    if kind == "parquet":
        return parquet_file(path, file_format)
    read = delimited_rows if kind == "csv" else ndjson_rows
    return RowFile(path.stat().st_size, lambda: read(path, file_format))


def watched_format(watch: model.Watch, max_bytes: int) -> FileFormat:
    """Return the format of a watch's files, with its feed; `max_bytes`: of one record."""
    csv = watch.csv
    return FileFormat(
        max_bytes=max_bytes,
        encoding=csv.encoding,
        delimiter=csv.delimiter,
        decimal_comma=csv.decimal_comma,
        quote=csv.quote,
        names=csv.names,
        mapping=row_mapping(watch),
        skip=csv.skip,
        escape=csv.escape,
        empty=frozenset(csv.empty),
        footer=_footer(csv.footer),
    )


def _footer(text: str | None) -> Pattern | None:
    regex = None if text is None else pattern(text)
    assert not isinstance(regex, PatternProblem)  # checked with the configuration
    return regex


def kind_of(name: str) -> FormatName:
    """Return the format by the name's suffix, NDJSON by default."""
    suffix = Path(name).suffix.lower()
    if suffix == ".parquet":
        return "parquet"
    return "csv" if suffix in (".csv", ".tsv") else "ndjson"
