"""Reader of NDJSON: one record per line."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from pipeline.row_files.columns import Columns
from pipeline.row_files.fault import Fault
from pipeline.row_files.mapping import IGNORE, RowMapping
from pipeline.row_files.row import FileFormat, FileRow, ReadRow, UnreadableError, UnreadableRow
from pipeline.row_files.text_lines import Line, encoding_of, lines, unreadable_byte

TOO_LARGE: Final = "too_large"
NOT_TEXT: Final = "not_text"


def ndjson_rows(path: Path, file_format: FileFormat) -> Iterator[ReadRow]:
    """Read an NDJSON file; empty lines are skipped. Raises UnreadableError for a single JSON array
    over several lines."""
    encoding = encoding_of(path, file_format.encoding)
    is_first = True
    for line in lines(path, encoding, file_format.max_bytes):
        text = line.text.strip()
        if text and is_first:
            _check_beginning(path, text)
            is_first = False
        if line.is_cut:
            yield report_too_large(line, file_format)
        elif text:
            fault = unreadable_byte(text)
            if fault is None:
                yield _row(line, text, file_format.mapping)
            else:
                yield UnreadableRow(
                    line.number, NOT_TEXT, None, fault, line.progress, original=text
                )


def _check_beginning(path: Path, text: str) -> None:
    """Refuse a file that is one JSON array over many lines. Raises UnreadableError."""
    if text.startswith("[") and not text.endswith("]"):
        raise UnreadableError(
            f"{path} is one JSON array, but files are read line by line: write one object per "
            "line, as `jq -c '.[]'` does"
        )


def report_too_large(line: Line, file_format: FileFormat) -> UnreadableRow:
    """Report a record that is larger than the limit."""
    message = f"a record may have {file_format.max_bytes} bytes"
    return UnreadableRow(line.number, TOO_LARGE, None, message, line.progress, original=line.text)


def _row(line: Line, text: str, mapping: RowMapping | None) -> ReadRow:
    if mapping is None:
        return FileRow(line.number, text.encode(), line.progress, original=text)
    result = _map_row(text, mapping)
    if isinstance(result, Fault):
        fault_key = (result.code, result.column, result.message)
        return UnreadableRow(line.number, *fault_key, line.progress, original=text)
    return FileRow(line.number, result, line.progress, original=text)


def _map_row(text: str, mapping: RowMapping) -> bytes | Fault:
    """Return the mapped object; a null leaves a field empty, but clears a property or trait."""
    try:
        record = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        return Fault("invalid_json", None, f"it is not JSON: {error}")
    if not isinstance(record, dict):
        return Fault("invalid_json", None, "it is not a JSON object")
    pairs: list[tuple[str, object]] = []
    for name, value in _leaves(record, "", mapping):
        field = mapping.target(name)
        if field is None:
            message = "unknown column: map it in the watch's `columns`, or list it in `ignore`"
            return Fault("unknown_column", name, f"{name}: {message}")
        if field != IGNORE and (value is not None or field.startswith("properties.")):
            pairs.append((field, value))
    return Columns(tuple(field for field, _ in pairs), mapping).record(pairs)


def _leaves(
    record: Mapping[str, Any], prefix: str, mapping: RowMapping
) -> Iterator[tuple[str, object]]:
    for key, value in record.items():
        name = prefix + key
        if isinstance(value, dict) and name not in mapping.targets:
            yield from _leaves(value, name + ".", mapping)
        else:
            yield name, value
