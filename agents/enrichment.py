"""Enrichment agent: adds traits and metrics. Consumes interactions.identified, keyed by profile."""

from agents.agent import Equipment, create_stage_app
from agents.app import App
from pipeline.flow import stage


def create_app(equipment: Equipment) -> App:
    """Create the enrichment agent's Faust app."""
    return create_stage_app(stage("enrichment"), equipment)
