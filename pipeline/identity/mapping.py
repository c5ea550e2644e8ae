"""Mapping of a source's own property names to those of the configuration."""

from msgspec.structs import replace

from pipeline.conditions import Facts
from pipeline.config.compile import Configuration
from pipeline.model.interaction import Interaction


def apply_mappings(interaction: Interaction, config: Configuration) -> Interaction:
    """Return the interaction with the properties that its source's mappings make.

    The properties that the mappings read stay.
    """
    mapping = config.mappings.get(interaction.source)
    if mapping is None:
        return interaction
    facts = Facts.of(interaction)
    properties, lists = dict(interaction.properties), dict(interaction.lists)
    for name, read in mapping:
        value = read(facts)
        if value is None:
            continue
        properties.pop(name, None)
        lists.pop(name, None)
        if isinstance(value, tuple):
            lists[name] = value
        else:
            properties[name] = value
    return replace(interaction, properties=properties, lists=lists)
