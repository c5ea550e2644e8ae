"""Inputs of a step besides record and state."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.config.compile import Configuration
from pipeline.model.budget import Purse
from pipeline.rules.chooser import Chooser
from pipeline.rules.enricher import Enricher
from pipeline.rules.propensities import Propensities
from pipeline.rules.scorer import Scorer
from pipeline.rules.token import TokenKey


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules of a configuration.

    `max_action_age_ms`: an interaction older than this on arrival triggers nothing outbound.
    `enrichers`: those that the configuration asks for; `scorers`: models by trait; those without a
    file are missing. `propensities`: predictions by a model of treatments, if there is one.
    `chooser`: draws choices by the learner's evidence, if the configuration asks for learning.
    `wallet`: what the record's partition may spend of budgets and stock; None: they are ignored.
    `with_chances`: decisions include the probabilities of their slots' choices, for off-policy
    evaluation.
    """

    config: Configuration
    token_key: TokenKey
    max_action_age_ms: int
    enrichers: tuple[Enricher, ...] = ()
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    propensities: Propensities | None = None
    chooser: Chooser | None = None
    wallet: Mapping[str, Purse] | None = None
    with_chances: bool = False
