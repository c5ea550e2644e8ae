"""An interaction's identifiers, made equal where they mean the same, the strongest first."""

from typing import Final

from pipeline.config.compile import Configuration
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import DeadLetter

REUSED_ID: Final = DeadLetter(
    "event-id-reused",
    "event_id: this source has used it for the same customer, kind and name with other contents;"
    " give every event an id of its own",
)
"""Not a retry, or one that says something else: which of the two, its sender must say."""


def ranked(interaction: Interaction, config: Configuration) -> tuple[Identifier, ...] | DeadLetter:
    """Normalised identifiers without the blocked ones; a dead letter when none is left."""
    if not interaction.identifiers:
        return DeadLetter("no-identifiers", "identifiers: the interaction names nobody")
    valid: list[Identifier] = []
    refused: list[str] = []
    for given in interaction.identifiers:
        normal = config.identity.normalise(given)
        if isinstance(normal, Identifier):
            valid.append(normal)
        else:
            refused.append(f"{given.namespace}: {normal}")
    if not valid:
        return DeadLetter("no-valid-identifier", "identifiers: " + "; ".join(refused))
    return config.identity.ranked(valid)
