"""NDJSON, and the laws common to all formats."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.row_files.row import FileFormat, FileRow, UnreadableError, UnreadableRow
from pipeline.row_files.rows import open_rows

_FORMAT = FileFormat(1_000)


def read(path: Path, file_format: FileFormat = _FORMAT) -> list[tuple[int, Any]]:
    """Return each row's line with its record, or the code and column of its refusal."""
    return [
        (
            row.line,
            msgspec.json.decode(row.raw) if isinstance(row, FileRow) else (row.code, row.field),
        )
        for row in open_rows(path, file_format).rows()
    ]


def test_ndjson_counts_lines_and_skips_empty_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'\xef\xbb\xbf{"type": "track"}\r\n\n  \n{"kind": "page"}')
    assert read(path) == [(1, {"type": "track"}), (4, {"kind": "page"})]


def test_line_too_long_is_refused_and_the_next_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'{"long": "' + b"x" * 5_000 + b'"}\n{"type": "track"}\n')
    assert read(path) == [(1, ("too_large", None)), (2, {"type": "track"})]


def test_line_that_is_no_text_is_refused_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'{"event": "a"}\n{"event": "caf\xe9"}\n{"event": "b"}\n')
    [_, refusal, _] = open_rows(path, _FORMAT).rows()
    assert isinstance(refusal, UnreadableRow)
    assert (refusal.line, refusal.code) == (2, "not_text")
    assert "0xe9" in refusal.message
    assert read(path, FileFormat(1_000, "windows-1252"))[1] == (2, {"event": "café"})


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_ndjson_in_utf_16_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes('{"event": "café 😀"}\r\n{"event": "b"}\n'.encode(encoding))
    assert read(path) == [(1, {"event": "café 😀"}), (2, {"event": "b"})]


def test_missing_file_and_unusable_encoding_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="not a file"):
        open_rows(tmp_path / "missing.ndjson", _FORMAT)
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"{}")
    for encoding in ("utf-17", "hex", "utf-7", "idna", "unicode_escape", "rot13", "utf-32"):
        with pytest.raises(UnreadableError, match="no text encoding"):
            read(path, FileFormat(1_000, encoding))
