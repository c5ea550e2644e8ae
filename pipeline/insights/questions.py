"""Question about attribution with all its settings, and its answer."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

import duckdb

from pipeline.insights.attribution import (
    MODELS,
    TIME_DECAY,
    WITH_ORDER,
    Attribution,
    ModelOptions,
    Scope,
    assemble,
    fit,
)
from pipeline.insights.engines import Queries
from pipeline.insights.markov import ORDERS
from pipeline.insights.order import choose_order
from pipeline.insights.path_table import read_paths
from pipeline.insights.paths import PathCounts
from pipeline.insights.resampling import Customers, affordable_replicates, bootstrap
from pipeline.insights.tables import MORE_MEMORY, TableError
from pipeline.insights.touches import Journeys, Support, TouchOptions, read_touches

AUTO: Final = "auto"
Order: TypeAlias = int | Literal["auto"]

_WEEK_MS: Final = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class BootstrapDraws:
    """Number of bootstrap draws of customers for an interval (0: no interval), and their `seed`."""

    replicates: int = 200
    seed: int = 0


@dataclass(frozen=True, slots=True)
class AttributionQuestion:
    """Question of `kairos insights attribution`. `has_paths`: whether the file has aggregated
    paths; otherwise it has touches, read with the options `touches`."""

    file: Path
    has_paths: bool
    model: str = "markov"
    order: Order = 1
    options: ModelOptions = field(default_factory=ModelOptions)
    touches: TouchOptions = field(default_factory=TouchOptions)
    half_life_ms: int = _WEEK_MS
    draws: BootstrapDraws = field(default_factory=BootstrapDraws)


@dataclass(frozen=True, slots=True)
class AttributionAnswer:
    """Answer to an AttributionQuestion. `scope`: whether credit was divided over all conversions at
    once or within each journey; `support`: counts of the table of touches."""

    attribution: Attribution
    scope: Scope
    support: Support | None


def answer(question: AttributionQuestion, queries: Queries) -> AttributionAnswer:
    """Read the table and credit its channels. Raises TableError, TooLargeError, NoWorthError."""
    try:
        if question.has_paths:
            return _credit_paths(question, queries)
        return credit_journeys(question, read_touches(queries, question.file, question.touches))
    except duckdb.OutOfMemoryException as error:
        raise TableError(f"{question.file}: needs {MORE_MEMORY}") from error


def _credit_paths(question: AttributionQuestion, queries: Queries) -> AttributionAnswer:
    if question.model == TIME_DECAY:
        raise TableError(
            f"{question.file}: paths have no times, which {TIME_DECAY} needs: give touches"
        )
    paths = read_paths(queries, question.file)
    return _apply_model(question, paths, lambda: Customers.of_paths(paths), None)


def credit_journeys(question: AttributionQuestion, journeys: Journeys) -> AttributionAnswer:
    """Credit the channels of loaded journeys. Raises TooLargeError, NoWorthError."""
    paths, support = journeys.path_counts(), journeys.support()
    if question.model == TIME_DECAY:
        return _time_decay_answer(question, journeys, paths, support)
    return _apply_model(question, paths, lambda: journeys.customers(paths), support)


def _time_decay_answer(
    question: AttributionQuestion, journeys: Journeys, paths: PathCounts, support: Support
) -> AttributionAnswer:
    credits, interval = journeys.time_decay(question.half_life_ms)
    attribution = assemble(TIME_DECAY, None, paths, credits, interval)
    return AttributionAnswer(attribution, MODELS[TIME_DECAY], support)


def _apply_model(
    question: AttributionQuestion,
    paths: PathCounts,
    customers: Callable[[], Customers],
    support: Support | None,
) -> AttributionAnswer:
    options = question.options
    order = None
    if question.model in WITH_ORDER:
        order = _chosen_order(question, paths)
        options = replace(options, order=order)
    model = fit(question.model, options, paths)
    credits = model.credit(paths)
    interval = None
    if replicates := affordable_replicates(question.draws.replicates, model):
        interval = bootstrap(paths, customers(), model, replicates, question.draws.seed)
    attribution = assemble(question.model, order, paths, credits, interval)
    return AttributionAnswer(attribution, MODELS[question.model], support)


def _chosen_order(question: AttributionQuestion, paths: PathCounts) -> int:
    if question.order == AUTO:
        return choose_order(paths, question.draws.seed)
    assert question.order in ORDERS, question.order
    return question.order
