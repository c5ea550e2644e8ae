"""Identity agent: resolves profiles. Consumes interactions and identities, keyed by an
identifier."""

from agents.agent import Equipment, stage_app
from agents.app import App
from pipeline.flow import stage


def app(equipment: Equipment) -> App:
    """Return the identity agent's Faust app."""
    return stage_app(stage("identity"), equipment)
