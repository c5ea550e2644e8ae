"""Compressed files: `.gz`, and `.zip` of one file, unpacked within bounds."""

import gzip
import lzma
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from pipeline.row_files.row import UnreadableError

GZIP: Final = ".gz"
ZIP: Final = ".zip"

_CHUNK_BYTES: Final = 1024 * 1024
_DAMAGE_ERRORS: Final = (
    EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile,
    NotImplementedError, RuntimeError,
)  # fmt: skip
"""RuntimeError: of an encrypted zip; NotImplementedError: of a method that Python lacks."""

_LITTER: Final = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
"""Names that file managers add to archives, besides hidden files."""

_HARMLESS_BYTES: Final = 64 * 1024 * 1024
"""Size of content that is allowed at any ratio to the file's size."""


@dataclass(frozen=True, slots=True)
class ContentLimits:
    """Limits on the content of a packed or encrypted file: its bytes, and its ratio to the size of
    the file. No table exceeds them; other content could fill the disk."""

    max_bytes: int
    max_ratio: float

    def limit_for(self, packed_bytes: int) -> int:
        """Return the number of bytes that the content of a file of `packed_bytes` may have."""
        return min(self.max_bytes, max(_HARMLESS_BYTES, int(packed_bytes * self.max_ratio)))

    def fault(self, step: str, packed_bytes: int) -> UnreadableError:
        """Return the error of a file whose content exceeds them; `step`: unpacked or decrypted."""
        limit = self.limit_for(packed_bytes)
        if limit == self.max_bytes:
            return UnreadableError(f"{step} it is larger than {limit:,} bytes (`max_bytes`)")
        message = f"{step} it is more than {self.max_ratio:g} times its size (`max_ratio`)"
        return UnreadableError(f"{message}: larger than {limit:,} bytes")


def is_packed(name: str) -> bool:
    """Return whether a file of this name must be unpacked."""
    return Path(name).suffix.lower() in (GZIP, ZIP)


def inner_name(name: str) -> str:
    """Return the name of the packed content, without `.gz` or `.zip`."""
    return Path(name).stem if is_packed(name) else name


def unpack(file: Path, name: str, target: Path, limits: ContentLimits) -> str:
    """Write the content of `file`, called `name`, to `target`; return the content's name.

    Raises UnreadableError for an archive that is damaged, encrypted, of several files or too large.
    """
    if file.stat().st_size == 0:
        raise UnreadableError("it is empty, so it is not an archive")
    try:
        if Path(name).suffix.lower() == GZIP:
            with gzip.open(file) as source:
                _copy(source, target, file.stat().st_size, limits)
            return inner_name(name)
        return _unzip(file, name, target, limits)
    except _DAMAGE_ERRORS as error:
        raise UnreadableError(f"it cannot be unpacked: {error}") from error


def _unzip(file: Path, name: str, target: Path, limits: ContentLimits) -> str:
    with zipfile.ZipFile(file) as archive:
        files = [
            entry
            for entry in archive.infolist()
            if not entry.is_dir() and not _is_litter(entry.filename)
        ]
        if len(files) != 1:
            raise UnreadableError(f"a .zip must contain one file, and this one has {len(files)}")
        with archive.open(files[0]) as source:
            _copy(source, target, file.stat().st_size, limits)
        content_name = inner_name(name)
        return content_name if Path(content_name).suffix else Path(files[0].filename).name


def _is_litter(name: str) -> bool:
    parts = Path(name).parts
    return not _LITTER.isdisjoint(parts) or any(part.startswith(".") for part in parts)


def _copy(
    source: IO[bytes] | gzip.GzipFile, target: Path, packed_bytes: int, limits: ContentLimits
) -> None:
    remaining_bytes = limits.limit_for(packed_bytes)
    with target.open("wb") as unpacked_file:
        while chunk := source.read(_CHUNK_BYTES):
            remaining_bytes -= len(chunk)
            if remaining_bytes < 0:
                raise limits.fault("unpacked", packed_bytes)
            unpacked_file.write(chunk)
