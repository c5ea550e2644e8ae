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

_NO_VALUES: Final[dict[str, Scalar]] = {}


def enrichers_for(config: Configuration, places: Places | None = None) -> tuple[Enricher, ...]:
    """Return the enrichers that the configuration enables and reads.

    `places`: the geo database; None: there is none, or it could not be opened.
    """
    return tuple(
        enricher
        for enricher in _configured_enrichers(config, places)
        if config.derived_values.intersection(enricher.names)
    )


def derive(interaction: Interaction, enrichers: tuple[Enricher, ...]) -> dict[str, Scalar]:
    """Return the values that the enrichers derive from an interaction; unknown ones are left
    out."""
    if not enrichers:
        return _NO_VALUES
    values: dict[str, Scalar] = {}
    for enricher in enrichers:
        values.update(enricher.derive(interaction))
    return values


def _configured_enrichers(config: Configuration, places: Places | None) -> Iterator[Enricher]:
    options = config.bundle.profile.enrichers
    if options.user_agent is not None:
        yield UserAgentEnricher()
    if options.geo is not None and places is not None:
        yield GeoEnricher(places)
    if options.campaign is not None:
        yield CampaignEnricher()
    if options.currency is not None:
        yield CurrencyEnricher(options.currency)
    if options.local_time is not None:
        yield LocalTimeEnricher(options.local_time)
