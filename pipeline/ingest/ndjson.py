"""Reader of NDJSON: one record per line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pipeline.ingest.row import FileFormat, FileRow, ReadRow, UnreadableRow
from pipeline.ingest.text_lines import Line, encoding_of, lines, unreadable_byte

TOO_LARGE: Final = "too_large"
NOT_TEXT: Final = "not_text"


def ndjson_rows(path: Path, file_format: FileFormat) -> Iterator[ReadRow]:
    """Read an NDJSON file; empty lines are skipped."""
    encoding = encoding_of(path, file_format.encoding)
    for line in lines(path, encoding, file_format.max_bytes):
        text = line.text.strip()
        if line.cut:
            yield too_large(line, file_format)
        elif text:
            fault = unreadable_byte(text)
            if fault is None:
                yield FileRow(line.number, text.encode(), line.done)
            else:
                yield UnreadableRow(line.number, NOT_TEXT, None, fault, line.done)


def too_large(line: Line, file_format: FileFormat) -> UnreadableRow:
    """Report a record that is larger than the limit."""
    what = f"a record may have {file_format.max_bytes} bytes"
    return UnreadableRow(line.number, TOO_LARGE, None, what, line.done)
