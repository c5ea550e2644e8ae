"""Adapters to the outside: Kafka, RocksDB, Avro, files, clock and others."""
