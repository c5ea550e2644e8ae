"""A source's own names of properties, made those that everybody uses."""

from msgspec.structs import replace

from pipeline.conditions import Facts
from pipeline.config.compile import Configuration
from pipeline.model.interaction import Interaction, Scalar


def mapped(interaction: Interaction, config: Configuration) -> Interaction:
    """With the properties that its source's mappings make; what they are made of stays."""
    mapping = config.mappings.get(interaction.source)
    if mapping is None:
        return interaction
    facts = Facts.of(interaction)
    made: dict[str, Scalar] = {}
    for name, read in mapping:
        value = read(facts)
        if value is not None and not isinstance(value, tuple):
            made[name] = value
    return replace(interaction, properties={**interaction.properties, **made})
