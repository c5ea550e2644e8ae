"""RocksDB databases of single programs: small caches and buffers, Bloom filters."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, cast

from rocksdict import AccessType, BlockBasedOptions, Cache, DBCompressionType, Options, Rdict

_CACHE_BYTES = 16 << 20
_BUFFER_BYTES = 8 << 20
_MAX_BUFFERS = 2
_BLOOM_BITS_PER_KEY = 10
_MAX_LOG_FILES = 2


class RowMap(Protocol):
    """Rows by key, in a dict or a database."""

    def get(self, key: bytes, /) -> bytes | None: ...

    def __setitem__(self, key: bytes, value: bytes, /) -> None: ...

    def __delitem__(self, key: bytes, /) -> None: ...

    def items(self) -> Iterable[tuple[bytes, bytes]]: ...


class DatabaseInUseError(Exception):
    """Raised when another process holds the database."""


def open_rows(folder: Path, ttl_s: int | None = None) -> Rdict:
    """Open or create the database in `folder`; keys and values are bytes.

    The parent must exist; it is missing if the home was removed. With `ttl_s`, rows are removed
    some time after that number of seconds. Raises DatabaseInUseError, or Exception (rocksdict has
    no narrower one) if the database is damaged.
    """
    folder.mkdir(exist_ok=True)
    access = AccessType.read_write() if ttl_s is None else AccessType.with_ttl(ttl_s)
    try:
        return Rdict(str(folder), _options(), access_type=access)
    except Exception as error:
        if "LOCK" in str(error):
            raise DatabaseInUseError(
                f"{folder} is in use: does another process with the same name run in this home?"
            ) from error
        raise


@contextmanager
def temporary_rows() -> Iterator[RowMap]:
    """Provide a temporary database for rows that exceed memory.

    Its rows are sorted by key; deleting a missing row is not an error.
    """
    with TemporaryDirectory(prefix="kairos-") as folder:
        rows = open_rows(Path(folder))
        try:
            yield cast(RowMap, rows)
        finally:
            rows.close()


def _options() -> Options:
    blocks = BlockBasedOptions()
    blocks.set_block_cache(Cache(_CACHE_BYTES))
    blocks.set_bloom_filter(_BLOOM_BITS_PER_KEY, False)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(blocks)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_write_buffer_size(_BUFFER_BYTES)
    options.set_max_write_buffer_number(_MAX_BUFFERS)
    options.set_keep_log_file_num(_MAX_LOG_FILES)
    return options
