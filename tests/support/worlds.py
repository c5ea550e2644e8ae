"""Small configurations to test stages with."""

from collections.abc import Mapping
from functools import cache
from typing import Final

from msgspec.structs import replace

from pipeline.config import model
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.decisioning.learning.sampler import ThompsonSampler
from pipeline.enrichment.enrichers import Places, enrichers_for
from pipeline.rules import Rules
from pipeline.rules.knowledge import EMPTY_KNOWLEDGE, knowledge_in_force
from pipeline.rules.scorer import Scorer
from pipeline.rules.token import TokenKey

RANKS: Final = {"customer_id": 0, "email": 1, "cookie": 2}
MAX_ACTION_AGE_MS: Final = 300_000


def rules(
    bundle: model.Bundle, places: Places | None = None, scorers: Mapping[str, Scorer] | None = None
) -> Rules:
    """Return the rules of a valid bundle; `places` is its geo database, `scorers` are its models.
    Sources accept times from 0 on, since tests' clocks begin there."""
    sources = tuple(replace(source, earliest="1970-01-01") for source in bundle.sources.sources)
    config = compile_bundle(replace(bundle, sources=replace(bundle.sources, sources=sources)))
    assert isinstance(config, Configuration), config
    key = TokenKey("test" * 8)
    enrichers = enrichers_for(config, places)
    learning = config.learning
    knowledge = (
        EMPTY_KNOWLEDGE if learning is None else knowledge_in_force(learning, EMPTY_KNOWLEDGE)
    )
    chooser = None if learning is None else ThompsonSampler(learning, knowledge)
    return Rules(config, key, MAX_ACTION_AGE_MS, enrichers, scorers or {}, chooser=chooser)


@cache
def plain_rules() -> Rules:
    """Return rules with three namespaces, two traits, two segments, nothing to offer."""
    return rules(
        model.Bundle(
            sources=model.Sources((model.Source("shop", "web", "write-key-1"),)),
            identity=model.Identity(
                (
                    model.Namespace("customer_id"),
                    model.Namespace("email", "lower"),
                    model.Namespace("cookie"),
                )
            ),
            channels=model.Channels((model.Channel("web", placements=("hero",)),)),
            profile=model.ProfileRules(
                (
                    model.TraitDefinition("orders", "count", when={"name": "Order"}),
                    model.TraitDefinition(
                        "spent", "sum", of="properties.total", when={"name": "Order"}
                    ),
                    model.TraitDefinition("last_page", "latest", of="properties.page"),
                )
            ),
            segments=(
                model.Segment("buyers", {"trait": "orders", "gte": 1}),
                model.Segment("regulars", {"trait": "interactions", "gte": 3}),
            ),
        )
    )
