"""Segmentation agent: evaluates segments. Consumes interactions.enriched, keyed by profile."""

from agents.agent import Equipment, stage_app
from agents.app import App
from pipeline.flow import stage


def app(equipment: Equipment) -> App:
    """Return the segmentation agent's Faust app."""
    return stage_app(stage("segmentation"), equipment)
