"""What a step runs by: everything that is neither the record nor the state."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.config.compile import Configuration
from pipeline.decisioning.propensities import Propensities
from pipeline.decisioning.token import TokenKey
from pipeline.enrichment.enrichers import Enricher
from pipeline.enrichment.scores import Scorer


@dataclass(frozen=True, slots=True)
class Rules:
    """`max_action_age_ms`: an interaction older than this on arrival triggers nothing outbound.
    `enrichers` are those that the configuration asks for, `scorers` the models by their traits;
    what has no file is not there. `propensities`: what was learned of treatments, where a learner
    runs."""

    config: Configuration
    token_key: TokenKey
    max_action_age_ms: int
    enrichers: tuple[Enricher, ...] = ()
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    propensities: Propensities | None = None
