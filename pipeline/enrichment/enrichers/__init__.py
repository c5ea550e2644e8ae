"""Enrichers: values derived from one interaction alone, a module for each kind."""

from collections.abc import Iterator
from typing import Final

from pipeline.config.compile import Configuration
from pipeline.enrichment.enrichers.campaign import CampaignEnricher
from pipeline.enrichment.enrichers.currency import CurrencyEnricher
from pipeline.enrichment.enrichers.geo import GeoEnricher
from pipeline.enrichment.enrichers.local_time import LocalTimeEnricher
from pipeline.enrichment.enrichers.user_agent import UserAgentEnricher
from pipeline.model.interaction import Interaction, Scalar
from pipeline.rules.enricher import Enricher, Place, Places

__all__ = ["Enricher", "Place", "Places", "derive", "enrichers_for"]

_NOTHING: Final[dict[str, Scalar]] = {}


def enrichers_for(config: Configuration, places: Places | None = None) -> tuple[Enricher, ...]:
    """Return the enrichers that the configuration enables and reads.

    `places`: the geo database; None: there is none, or it could not be opened.
    """
    return tuple(
        enricher
        for enricher in _every(config, places)
        if config.derived_values.intersection(enricher.names)
    )


def derive(interaction: Interaction, enrichers: tuple[Enricher, ...]) -> dict[str, Scalar]:
    """Return the known values that the enrichers derive from an interaction."""
    if not enrichers:
        return _NOTHING
    derived: dict[str, Scalar] = {}
    for enricher in enrichers:
        derived.update(enricher.derive(interaction))
    return derived


def _every(config: Configuration, places: Places | None) -> Iterator[Enricher]:
    wanted = config.bundle.profile.enrichers
    if wanted.user_agent is not None:
        yield UserAgentEnricher()
    if wanted.geo is not None and places is not None:
        yield GeoEnricher(places)
    if wanted.campaign is not None:
        yield CampaignEnricher()
    if wanted.currency is not None:
        yield CurrencyEnricher(wanted.currency)
    if wanted.local_time is not None:
        yield LocalTimeEnricher(wanted.local_time)
