"""Conformance of actual paths with a defined journey: fitness, funnel and drop-offs."""

from collections import Counter
from dataclasses import dataclass

from pipeline.insights.defined import DefinedCases, step_names


@dataclass(frozen=True, slots=True)
class Variant:
    """Distinct path of steps; `fitness`: to the plan, from 0 to 1; `fits`: without any
    deviation."""

    path: tuple[str, ...]
    cases: int
    fitness: float
    fits: bool


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """Cases that reached a step after all mandatory steps of the stages before it."""

    step: str
    cases: int


@dataclass(frozen=True, slots=True)
class DropOff:
    """Cases that dropped off after a step (None: before any); `share` is of all cases."""

    after: str | None
    cases: int
    share: float


@dataclass(frozen=True, slots=True)
class Conformance:
    """Conformance of all cases; shares and means are over cases, None without cases."""

    cases: int
    variants: tuple[Variant, ...]
    fits_share: float | None
    mean_fitness: float | None
    funnel: tuple[FunnelStep, ...]
    drop_offs: tuple[DropOff, ...]


def conformance(defined_cases: DefinedCases) -> Conformance:
    """Return the conformance of all cases."""
    case_count = sum(variant.cases for variant in defined_cases.variants)
    fitting_count = sum(
        variant.cases for variant in defined_cases.variants if variant.alignment.fits
    )
    fitness_sum = sum(
        variant.cases * variant.alignment.fitness for variant in defined_cases.variants
    )
    return Conformance(
        case_count,
        tuple(
            Variant(
                step_names(defined_cases.plan, variant.path),
                variant.cases,
                variant.alignment.fitness,
                variant.alignment.fits,
            )
            for variant in defined_cases.variants
        ),
        fitting_count / case_count if case_count else None,
        fitness_sum / case_count if case_count else None,
        funnel(defined_cases),
        drop_offs(defined_cases, case_count),
    )


def funnel(defined_cases: DefinedCases) -> tuple[FunnelStep, ...]:
    """Return the number of cases that reached each step, in the order of the plan."""
    case_counts: Counter[int] = Counter()
    for variant in defined_cases.variants:
        for step, _ in variant.progress.reached_steps:
            case_counts[step] += variant.cases
    return tuple(
        FunnelStep(step.name, case_counts[number])
        for number, step in enumerate(defined_cases.plan.steps)
    )


def drop_offs(defined_cases: DefinedCases, case_count: int) -> tuple[DropOff, ...]:
    """Return the dropped cases by the last step reached, in the order of the plan; unfinished cases
    are left out."""
    case_counts: Counter[int] = Counter()
    for variant in defined_cases.variants:
        last_step = variant.progress.reached_steps[-1][0] if variant.progress.reached_steps else -1
        case_counts[last_step] += variant.outcomes.get("dropped", 0)
    names = (None, *(step.name for step in defined_cases.plan.steps))
    return tuple(
        DropOff(names[step + 1], count, count / case_count)
        for step, count in sorted(case_counts.items())
        if count
    )
