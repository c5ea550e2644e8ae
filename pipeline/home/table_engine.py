"""Limits of DuckDB, by the settings of a home."""

from pathlib import Path

from pipeline.insights.tables import Engine
from pipeline.settings import Settings


def table_engine(
    settings: Settings, memory: str | None = None, spill: Path | None = None
) -> Engine:
    """Return an engine within the limits of the settings, or those of a command."""
    return Engine(memory or settings.insights_memory, spill or settings.insights_spill)
