"""Identifiers by the rules of identity.yaml: which are stronger, which are equal."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.conditions import did_you_mean
from pipeline.config import model
from pipeline.model.interaction import Identifier

_NORMALISE: Final[dict[str, Callable[[str], str]]] = {
    "none": str,
    "trim": str.strip,
    "lower": lambda value: value.strip().lower(),
}


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """`ranks`: 0 is the strongest namespace. `blocked` values are trimmed and in lower case."""

    ranks: Mapping[str, int]
    normalisers: Mapping[str, Callable[[str], str]]
    blocked: frozenset[str]
    max_length: int

    def rank(self, namespace: str) -> int:
        """The lower, the stronger; of a known namespace."""
        return self.ranks[namespace]

    def normalise(self, given: Identifier) -> Identifier | str:
        """The identifier in its normal form, or in words why it is none."""
        normaliser = self.normalisers.get(given.namespace)
        if normaliser is None:
            hint = did_you_mean(given.namespace, self.ranks)
            return f"unknown namespace {given.namespace[:100]!r}: {hint}"
        if len(given.value) > self.max_length:
            return f"longer than {self.max_length} characters"
        value = normaliser(given.value)
        if not value or value.strip().lower() in self.blocked:
            return f"{given.value[:100]!r} identifies nobody (blocked value)"
        return Identifier(given.namespace, value)


def identity_rules(identity: model.Identity) -> IdentityRules:
    """Compiled from identity.yaml."""
    spaces = identity.namespaces
    return IdentityRules(
        ranks={space.name: rank for rank, space in enumerate(spaces)},
        normalisers={space.name: _NORMALISE[space.normalise] for space in spaces},
        blocked=frozenset(value.strip().lower() for value in identity.blocked_values),
        max_length=identity.max_length,
    )
