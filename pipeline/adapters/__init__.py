"""What touches the outside: Kafka, RocksDB, Avro, e-mail, webhooks and the like."""
