"""RocksDB options: bounded caches and memtables, Bloom filters, compression."""

from functools import cache
from pathlib import Path

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict

BLOCK_CACHE_BYTES = 64 * 1024 * 1024
MEMTABLE_BYTES = 8 * 1024 * 1024
MAX_MEMTABLES = 2
BLOOM_BITS_PER_KEY = 10
MAX_MANIFEST_BYTES = 1
"""Size above which a manifest is rewritten, without the keys of deleted files."""

META = "meta"
"""Column family that holds the changelog offset up to which the store is current."""


@cache
def _block_cache() -> Cache:
    """Return the block cache that all stores of the process share."""
    return Cache(BLOCK_CACHE_BYTES)


def _options() -> Options:
    blocks = BlockBasedOptions()
    blocks.set_block_cache(_block_cache())
    blocks.set_cache_index_and_filter_blocks(True)
    blocks.set_bloom_filter(BLOOM_BITS_PER_KEY, False)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_block_based_table_factory(blocks)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_write_buffer_size(MEMTABLE_BYTES)
    options.set_max_write_buffer_number(MAX_MEMTABLES)
    options.set_max_total_wal_size(MAX_MEMTABLES * MEMTABLE_BYTES)
    options.set_max_open_files(128)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(2)
    options.set_max_manifest_file_size(MAX_MANIFEST_BYTES)
    options.set_stats_dump_period_sec(0)
    return options


def open_database(path: Path) -> Rdict:
    """Open or create the database in `path`, FOLDER/TABLE/PARTITION.

    FOLDER must exist: where it is missing, its home was removed and must not be re-created.

    Raises Exception (rocksdict has no narrower one) when it cannot be opened: it is damaged, in
    use, or not accessible.
    """
    path.parent.mkdir(exist_ok=True)
    path.mkdir(exist_ok=True)
    return Rdict(str(path), options=_options(), column_families={META: Options(raw_mode=True)})
