"""Table state: one RocksDB per table and partition, rebuilt from changelogs."""
