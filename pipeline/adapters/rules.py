"""The rules of a configuration with the files that it names, found by their digests."""

import structlog

from pipeline.adapters.artifacts import Artifacts
from pipeline.adapters.geo import open_places
from pipeline.config.compile import Configuration
from pipeline.decisioning.token import TokenKey
from pipeline.enrichment.enrichers import Places, enrichers_for
from pipeline.rules import Rules

_log = structlog.get_logger(__name__)


def load_rules(
    config: Configuration, token_key: TokenKey, max_action_age_ms: int, artifacts: Artifacts
) -> Rules:
    """A file that is missing is told once, here; what it would give is then missing too."""
    enrichers = enrichers_for(config, _places(config, artifacts))
    return Rules(config, token_key, max_action_age_ms, enrichers)


def _places(config: Configuration, artifacts: Artifacts) -> Places | None:
    geo = config.bundle.profile.enrichers.geo
    if geo is None:
        return None
    file = artifacts.find(geo.sha256)
    places = f"{geo.sha256} is not in {artifacts.folder}" if file is None else open_places(file)
    if isinstance(places, str):
        _log.error("no geo database", database=geo.database, config=config.digest, reason=places)
        return None
    return places
