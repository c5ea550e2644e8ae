"""Enrichment agent: adds traits and metrics. Consumes interactions.identified, keyed by profile."""

from agents.agent import Equipment, stage_app
from agents.app import App
from pipeline.flow import stage


def app(equipment: Equipment) -> App:
    """Return the enrichment agent's Faust app."""
    return stage_app(stage("enrichment"), equipment)
