"""Rules of a configuration with its files, found by their digests."""

import logging
from collections.abc import Iterator
from importlib.metadata import version

from pipeline.adapters.artifacts import Artifacts
from pipeline.adapters.geo import open_places
from pipeline.adapters.models import load_scorer
from pipeline.adapters.trial import isolated_model_problem
from pipeline.config.compile import Configuration
from pipeline.config.model import Score
from pipeline.config.names import score_trait
from pipeline.enrichment.enrichers import Places, enrichers_for
from pipeline.rules import Rules
from pipeline.rules.chooser import Chooser
from pipeline.rules.knowledge import EMPTY_KNOWLEDGE, Knowledge, knowledge_in_force
from pipeline.rules.scorer import Scorer
from pipeline.rules.token import TokenKey
from pipeline.settings import Settings

_log = logging.getLogger(__name__)


def load_rules(
    config: Configuration, settings: Settings, knowledge: Knowledge = EMPTY_KNOWLEDGE
) -> Rules:
    """Return the rules, with the learner's evidence; log each unusable file once, and leave out its
    part."""
    artifacts = settings.kept_artifacts()
    return Rules(
        config,
        TokenKey(settings.signing_secret()),
        settings.max_action_age_s * 1000,
        enrichers_for(config, _places(config, artifacts)),
        dict(_scorers(config, artifacts, settings.score_budget_us)),
        chooser=_chooser(config, knowledge),
    )


def _chooser(config: Configuration, knowledge: Knowledge) -> Chooser | None:
    if config.learning is None:
        return None
    from pipeline.decisioning.learning.sampler import ThompsonSampler  # imports SciPy

    return ThompsonSampler(config.learning, knowledge_in_force(config.learning, knowledge))


def _places(config: Configuration, artifacts: Artifacts) -> Places | None:
    geo = config.bundle.profile.enrichers.geo
    if geo is None:
        return None
    file = artifacts.find(geo.sha256)
    places = f"{geo.sha256} is not in {artifacts.folder}" if file is None else open_places(file)
    if isinstance(places, str):
        _log.error(
            "no geo database",
            extra={"database": geo.database, "config": config.digest, "reason": places},
        )
        return None
    return places


def _scorers(
    config: Configuration, artifacts: Artifacts, budget_us: float
) -> Iterator[tuple[str, Scorer]]:
    for score in config.bundle.profile.scores:
        if score.model is None:  # not trained yet
            continue
        scorer = _scorer(score, artifacts, budget_us)
        if isinstance(scorer, str):
            _log.error(
                "no score", extra={"score": score.name, "config": config.digest, "reason": scorer}
            )
        else:
            yield score_trait(score.name), scorer


def _scorer(score: Score, artifacts: Artifacts, budget_us: float) -> Scorer | str:
    """Load a model after a trial in an isolated process with the same version of LightGBM.

    Returns the reason if the model is unusable.
    """
    file = artifacts.find(score.sha256)
    if file is None or score.sha256 is None:
        return f"{score.sha256} is not in {artifacts.folder}"
    feature_count = len(score.features)
    trial_mark = f"tried-{feature_count}-{version('lightgbm')}"
    if not artifacts.is_marked(score.sha256, trial_mark):
        problem = isolated_model_problem(file, feature_count)
        if problem is not None:
            return problem
        artifacts.mark(score.sha256, trial_mark)
    return load_scorer(file, feature_count, budget_us)
