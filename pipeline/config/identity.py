"""Rules of identity.yaml: ranks of identifiers, their normal form, and their limits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from unicodedata import category

from pipeline.conditions import did_you_mean
from pipeline.config import model
from pipeline.config.normalise import Normaliser, normaliser
from pipeline.config.regex import Pattern, pattern
from pipeline.model.interaction import Identifier

_QUOTES_AND_BRACKETS: Final = " \t'\"`()[]{}<>"


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """Compiled rules; rank 0 is the strongest namespace. `blocked_values` are in lower case.

    An identifier has at most `max_identifiers` children, itself included, and at most `limits` of
    each namespace.
    """

    ranks: Mapping[str, int]
    normalisers: Mapping[str, Normaliser]
    limits: Mapping[str, int]
    max_identifiers: int
    blocked_values: frozenset[str]
    blocked_patterns: tuple[Pattern, ...]
    max_length: int

    def rank(self, identifiers: Iterable[Identifier]) -> tuple[Identifier, ...]:
        """Return each identifier once, the strongest first; their namespaces must be in `ranks`."""
        return tuple(
            sorted(
                set(identifiers),
                key=lambda identifier: (self.ranks[identifier.namespace], identifier.value),
            )
        )

    def normalise(self, identifier: Identifier) -> Identifier | str:
        """Return the identifier in its normal form, or the reason why it is invalid."""
        normalise_value = self.normalisers.get(identifier.namespace)
        if normalise_value is None:
            hint = did_you_mean(identifier.namespace, self.ranks)
            return f"unknown namespace {identifier.namespace[:100]!r}: {hint}"
        if len(identifier.value) > self.max_length:
            return f"longer than {self.max_length} characters"
        if not _is_text(identifier.value):
            return f"{identifier.value[:100]!r} has characters that are not text"
        if self._is_blocked(identifier.value):
            return _blocked_reason(identifier)
        value = normalise_value(identifier.value)
        if value is None:
            return f"{identifier.value[:100]!r} is not a valid {identifier.namespace}"
        if value == identifier.value:
            return identifier
        return (
            _blocked_reason(identifier)
            if self._is_blocked(value)
            else Identifier(identifier.namespace, value)
        )

    def _is_blocked(self, value: str) -> bool:
        """Return whether a value is a placeholder, or is blocked (in quotes or brackets too).

        A value without a letter and without a digit other than 0 is a placeholder.
        """
        trimmed_value = value.strip()
        if {
            trimmed_value.lower(),
            trimmed_value.strip(_QUOTES_AND_BRACKETS).lower(),
        } & self.blocked_values:
            return True
        if not trimmed_value or (
            not _is_significant(trimmed_value[0]) and not any(map(_is_significant, trimmed_value))
        ):
            return True
        return any(
            blocked_pattern.matches(trimmed_value) for blocked_pattern in self.blocked_patterns
        )


def identity_rules(identity: model.Identity) -> IdentityRules:
    """Compile identity.yaml."""
    namespaces = identity.namespaces
    return IdentityRules(
        ranks={namespace.name: rank for rank, namespace in enumerate(namespaces)},
        normalisers={
            namespace.name: normaliser(namespace, identity.phone_region) for namespace in namespaces
        },
        limits={
            namespace.name: namespace.limit
            for namespace in namespaces
            if namespace.limit is not None
        },
        max_identifiers=identity.max_identifiers,
        blocked_values=frozenset(value.strip().lower() for value in identity.blocked_values),
        blocked_patterns=_compile_patterns(identity.blocked_patterns),
        max_length=identity.max_length,
    )


def _compile_patterns(texts: tuple[str, ...]) -> tuple[Pattern, ...]:
    """Compile patterns, into a single one where RE2 accepts it."""
    combined_pattern = pattern("|".join(f"(?:{text})" for text in texts)) if texts else None
    patterns = (combined_pattern,) if isinstance(combined_pattern, Pattern) else map(pattern, texts)
    return tuple(
        compiled_pattern for compiled_pattern in patterns if isinstance(compiled_pattern, Pattern)
    )


def _is_significant(letter: str) -> bool:
    return letter.isalnum() and letter != "0"


def _is_text(value: str) -> bool:
    """Return False for a text with a control character or U+FFFD, the replacement character.

    Different values with the same damage would otherwise be one identifier.
    """
    if "\ufffd" in value:
        return False
    return value.isprintable() or all(category(character) != "Cc" for character in value)


def _blocked_reason(identifier: Identifier) -> str:
    return f"{identifier.value[:100]!r} identifies no person (blocked value)"
