"""Replay of interactions: files and topics through the stages, and topics as Parquet."""
