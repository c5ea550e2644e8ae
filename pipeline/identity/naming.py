"""Identifiers of an interaction in their normal form, the strongest first."""

from collections.abc import Collection
from typing import Final

from pipeline.config.compile import Configuration
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.lists import ambiguous_name
from pipeline.model.outcome import DeadLetter

REUSED_ID: Final = DeadLetter(
    "event-id-reused",
    "event_id: this source has used it for the same customer, kind and name with other contents;"
    " give every event an id of its own",
)
"""Dead letter of an id that was used by another event, or by a changed retry; only the sender can
distinguish the two."""

_NO_ID: Final = DeadLetter(
    "no-event-id", "event_id: it is blank; give every event an id, by which a retry is recognised"
)

_AMBIGUOUS_ALIAS_SIZE: Final = 3
"""Number of identifiers of an alias with an ambiguous previous id: both kinds of it, and the new
id."""


def refuse_unclear_interaction(interaction: Interaction) -> DeadLetter | None:
    """Return the dead letter of an interaction without an id or with an ambiguous name; None for
    any other. The gateway refuses both."""
    if not interaction.event_id.strip():
        return _NO_ID
    name = ambiguous_name(interaction.properties, interaction.lists)
    if name is None:
        return None
    return DeadLetter("ambiguous-name", f"properties.{name}: `lists` has another value of it")


def rank_identifiers(
    interaction: Interaction, config: Configuration
) -> tuple[Identifier, ...] | DeadLetter:
    """Return normalised identifiers without the blocked ones; a dead letter when none is left."""
    if not interaction.identifiers:
        return DeadLetter("no-identifiers", "identifiers: the interaction has none")
    valid_identifiers: list[Identifier] = []
    faults: list[str] = []
    for identifier in interaction.identifiers:
        normal_form = config.identity.normalise(identifier)
        if isinstance(normal_form, Identifier):
            valid_identifiers.append(normal_form)
        else:
            faults.append(f"{identifier.namespace}: {normal_form}")
    if not valid_identifiers:
        return DeadLetter("no-valid-identifier", "identifiers: " + "; ".join(faults))
    return config.identity.rank(valid_identifiers)


def ambiguous_alias(names: Collection[Identifier], config: Configuration) -> tuple[Identifier, ...]:
    """Return the previous id of an alias, as a user's and as an anonymous one, if the alias does
    not name its kind; else nothing.

    Segment's `previousId` may be either, so both are in the interaction; whether the anonymous one
    has a row decides between them.
    """
    if len(names) < _AMBIGUOUS_ALIAS_SIZE:
        return ()
    namespaces = config.bundle.identity
    users = {name.value: name for name in names if name.namespace == namespaces.user_id}
    anonymous_names = (name for name in names if name.namespace == namespaces.anonymous_id)
    pairs = (
        (users[identifier.value], identifier)
        for identifier in anonymous_names
        if identifier.value in users
    )
    return next(pairs, ())
