"""Interactions once more: files and topics through the stages, and topics as Parquet."""
