"""Identity agent: resolves profiles. Consumes interactions and identities, keyed by an
identifier."""

from agents.agent import Equipment, create_stage_app
from agents.app import App
from pipeline.flow import stage


def create_app(equipment: Equipment) -> App:
    """Create the identity agent's Faust app."""
    return create_stage_app(stage("identity"), equipment)
