"""Compiled restrictions of public sources."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.config import model

_DEVICE: Final = "device"


@dataclass(frozen=True, slots=True)
class SourceRestriction:
    """Restriction of a public source: `asserts` are the namespaces that need no proof.

    `secret` is as configured.
    """

    asserts: frozenset[str]
    secret: str | None


def restrictions(bundle: model.Bundle) -> dict[str, SourceRestriction]:
    """Compile the restrictions of public sources, by name."""
    return {
        source.name: SourceRestriction(_asserted_namespaces(source, bundle), source.secret)
        for source in bundle.sources.sources
        if source.trust == "public"
    }


def _asserted_namespaces(source: model.Source, bundle: model.Bundle) -> frozenset[str]:
    """Return the namespaces that a public source may use without proof.

    Without a trusted source there are no known customers to protect. Devices are excluded where
    messages are addressed to devices.
    """
    if source.asserts is not None:
        return frozenset(source.asserts)
    if source.secret is None and not any(map(_is_trusted, bundle.sources.sources)):
        return frozenset(namespace.name for namespace in bundle.identity.namespaces)
    anonymous_namespace = bundle.identity.anonymous_id
    return frozenset({anonymous_namespace, *({_DEVICE} - set(_address_namespaces(bundle)))})


def _is_trusted(source: model.Source) -> bool:
    return source.trust == "trusted" and source.name != model.ADAPTERS


def _address_namespaces(bundle: model.Bundle) -> Iterator[str]:
    for campaign in bundle.campaigns:
        for offer in campaign.offers:
            for treatment in offer.treatments:
                if treatment.address is not None:
                    yield treatment.address
