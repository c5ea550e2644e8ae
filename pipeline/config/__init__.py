"""Configuration as typed records, and its compilation to what the stages run."""
