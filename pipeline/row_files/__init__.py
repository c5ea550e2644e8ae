"""Files of rows (CSV, NDJSON, Parquet), read and converted into interactions."""
