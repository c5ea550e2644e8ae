"""Decisioning agent: chooses messages. Consumes interactions.segmented, keyed by profile."""

from agents.agent import Equipment, stage_app
from agents.app import App
from pipeline.flow import stage


def app(equipment: Equipment) -> App:
    """Return the decisioning agent's Faust app."""
    return stage_app(stage("decisioning"), equipment)
