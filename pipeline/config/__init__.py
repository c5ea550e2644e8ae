"""Configuration as typed records, and its compilation for the stages."""
