"""What a step runs by: everything that is neither the record nor the state."""

from dataclasses import dataclass

from pipeline.config.compile import Configuration
from pipeline.decisioning.token import TokenKey
from pipeline.enrichment.enrichers import Enricher


@dataclass(frozen=True, slots=True)
class Rules:
    """`max_action_age_ms`: an interaction older than this on arrival triggers nothing outbound.
    `enrichers` are those that the configuration asks for."""

    config: Configuration
    token_key: TokenKey
    max_action_age_ms: int
    enrichers: tuple[Enricher, ...] = ()
