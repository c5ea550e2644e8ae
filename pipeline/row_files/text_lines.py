"""Reader of a text file's lines, with bounded memory, that detects the encoding.

UTF-8 and UTF-16 are detected by their byte order mark, or by which bytes are zero. Encodings of
eight bits cannot be distinguished, so they must be named. A byte that is invalid in the encoding
becomes a lone surrogate, which no valid text holds, so that only its own cell is refused.
"""

import codecs
import re
from collections.abc import Iterator
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import Final

from msgspec import Struct

from pipeline.row_files.row import UnreadableError

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_FILES: Final = (
    (b"PK\x03\x04", "a zip archive, or a workbook of a spreadsheet"),
    (b"\xd0\xcf\x11\xe0", "a workbook of an old spreadsheet"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PAR1", "Parquet"),
    (b"Obj\x01", "an Avro container"),
    (b"%PDF-", "PDF"),
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
)
"""First bytes of files that are not readable text."""

_SAMPLE_BYTES: Final = 4_096
_WIDE_ENCODINGS: Final = ("utf-16", "utf-16-le", "utf-16-be")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_ASCII: Final = '\r\n\t,;|"+-{}[]azAZ09'
"""Characters that every supported encoding of eight bits shares with ASCII."""

_CUT_CHARACTER: Final = "the file ends within a character"


class Line(Struct, frozen=True):
    """Line of a file; `number` counts from 1, `progress` is the number of bytes read so far.

    `text` includes its line break, unless the line is the file's last. `is_cut`: the line is longer
    than the limit, and `text` has only its beginning.
    """

    number: int
    text: str
    progress: int
    is_cut: bool = False


def encoding_of(path: Path, encoding_name: str | None) -> str:
    """Return the file's codec, detected where `encoding_name` is None.

    Raises UnreadableError for an encoding that cannot be read by line, and for files of another
    kind, such as archives.
    """
    with path.open("rb") as file:
        sample = file.read(_SAMPLE_BYTES)
    for beginning, kind in _OTHER_FILES:
        if sample.startswith(beginning):
            raise UnreadableError(f"{path} is {kind}, not a text file of rows")
    if encoding_name is not None:
        return _resolve_encoding(encoding_name)
    for mark, name in _MARKS:
        if sample.startswith(mark):
            return name
    return _guess_encoding(sample)


def lines(path: Path, encoding: str, max_characters: int) -> Iterator[Line]:
    """Yield every line; one longer than `max_characters` is cut and marked.

    Raises UnreadableError for a file that ends within a character.
    """
    with (
        path.open("rb") as raw,
        TextIOWrapper(raw, encoding, _error_handler(encoding), newline="") as text,
    ):
        yield from _lines(text, raw, max_characters)


def _error_handler(encoding: str) -> str:
    """Return the error handler that turns undecodable bytes into lone surrogates."""
    return "surrogatepass" if encoding in _WIDE_ENCODINGS else "surrogateescape"


def _lines(text: TextIOWrapper, raw: BufferedReader, max_characters: int) -> Iterator[Line]:
    number = 0
    try:
        while part := text.readline(max_characters + 2):
            number += 1
            remainder = part
            while len(remainder) == max_characters + 2 and not remainder.endswith(("\n", "\r")):
                remainder = text.readline(max_characters + 2)
            yield Line(number, part, raw.tell(), is_cut=remainder is not part)
    except UnicodeDecodeError as error:
        raise UnreadableError(f"line {number + 1}: {_CUT_CHARACTER}") from error


def unreadable_byte(text: str) -> str | None:
    """Describe the first byte of `text` that could not be decoded, else its zero byte; None without
    either."""
    match = _LONE_SURROGATE.search(text)
    if match is not None:
        code = ord(match[0])
        message = f"byte 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else "half a character"
        return (
            f"{message} is invalid in its encoding: give another, such as --encoding windows-1252"
        )
    return "it contains a zero byte" if "\0" in text else None


def _guess_encoding(sample: bytes) -> str:
    """Guess the encoding: UTF-16 of mostly Latin text has a zero in every other byte."""
    even_zeros, odd_zeros = sample[0::2].count(0), sample[1::2].count(0)
    if max(even_zeros, odd_zeros) * 3 < len(sample):
        return "utf-8"
    return "utf-16-be" if even_zeros > odd_zeros else "utf-16-le"


def _resolve_encoding(encoding_name: str) -> str:
    try:
        name = codecs.lookup(encoding_name).name
        b"a\xff".decode(name, "ignore" if name in _WIDE_ENCODINGS else _error_handler(name))
        is_supported = (
            name in (*_WIDE_ENCODINGS, "utf-8-sig") or _ASCII.encode(name) == _ASCII.encode()
        )
    except (LookupError, UnicodeError):
        is_supported = False
    if not is_supported:
        examples = "utf-8, utf-16, windows-1252 or iso-8859-15"
        message = f"no text encoding {encoding_name!r}: use one such as {examples}"
        raise UnreadableError(message)
    return "utf-8-sig" if name == "utf-8" else name
