"""Reader of files of any format, chosen by the name's suffix; NDJSON by default."""

from pathlib import Path

from pipeline.ingest.delimited import delimited_rows
from pipeline.ingest.ndjson import ndjson_rows
from pipeline.ingest.parquet import parquet_file
from pipeline.ingest.row import FileFormat, RowFile, UnreadableError


def open_rows(path: Path, file_format: FileFormat) -> RowFile:
    """Open a file. Raise UnreadableError when it cannot be read."""
    if not path.is_file():
        raise UnreadableError(f"{path} is not a file")
    kind = path.suffix.lower()
    if kind == ".parquet":
        return parquet_file(path, file_format)
    read = delimited_rows if kind in (".csv", ".tsv") else ndjson_rows
    return RowFile(path.stat().st_size, lambda: read(path, file_format))
