"""Reader of files of any format."""

from pathlib import Path

from pipeline.row_files.delimited import delimited_rows
from pipeline.row_files.ndjson import ndjson_rows
from pipeline.row_files.parquet import parquet_file
from pipeline.row_files.row import FileFormat, FormatName, RowFile, UnreadableError


def open_rows(path: Path, file_format: FileFormat, kind: FormatName | None = None) -> RowFile:
    """Open a file. Raises UnreadableError when it cannot be read. `kind` defaults to that of the
    name."""
    if not path.is_file():
        raise UnreadableError(f"{path} is not a file")
    kind = kind or kind_of(path.name)
    if kind == "parquet":
        return parquet_file(path, file_format)
    read = delimited_rows if kind == "csv" else ndjson_rows
    return RowFile(path.stat().st_size, lambda: read(path, file_format))


def kind_of(name: str) -> FormatName:
    """Return the format by the name's suffix, NDJSON by default."""
    suffix = Path(name).suffix.lower()
    if suffix == ".parquet":
        return "parquet"
    return "csv" if suffix in (".csv", ".tsv") else "ndjson"
