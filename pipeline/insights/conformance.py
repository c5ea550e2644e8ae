"""Conformance of actual paths with a defined journey: fitness, funnel and drop-offs."""

from collections import Counter
from dataclasses import dataclass

from pipeline.insights.defined import DefinedCases, step_names


@dataclass(frozen=True, slots=True)
class Variant:
    """Distinct path of steps, and how well it fits the plan (from 0 to 1)."""

    path: tuple[str, ...]
    cases: int
    fitness: float
    fits: bool


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """Cases that reached a step after the mandatory ones before it."""

    step: str
    cases: int


@dataclass(frozen=True, slots=True)
class DropOff:
    """Cases that failed after a step (None: before any); `share` is of all cases."""

    after: str | None
    cases: int
    share: float


@dataclass(frozen=True, slots=True)
class Conformance:
    """Conformance of all cases; shares and means are over cases, None where there is none."""

    cases: int
    variants: tuple[Variant, ...]
    fits_share: float | None
    mean_fitness: float | None
    funnel: tuple[FunnelStep, ...]
    drop_offs: tuple[DropOff, ...]


def conformance(defined: DefinedCases) -> Conformance:
    """Sum up the variants."""
    cases = sum(variant.cases for variant in defined.variants)
    fitting = sum(variant.cases for variant in defined.variants if variant.alignment.fits)
    fitness = sum(variant.cases * variant.alignment.fitness for variant in defined.variants)
    return Conformance(
        cases,
        tuple(
            Variant(
                step_names(defined.plan, variant.path),
                variant.cases,
                variant.alignment.fitness,
                variant.alignment.fits,
            )
            for variant in defined.variants
        ),
        fitting / cases if cases else None,
        fitness / cases if cases else None,
        funnel(defined),
        drop_offs(defined, cases),
    )


def funnel(cases: DefinedCases) -> tuple[FunnelStep, ...]:
    """Return the cases that reached each step, in the order of the plan."""
    reached: Counter[int] = Counter()
    for variant in cases.variants:
        for step, _ in variant.progress.reached_steps:
            reached[step] += variant.cases
    return tuple(
        FunnelStep(step.name, reached[number]) for number, step in enumerate(cases.plan.steps)
    )


def drop_offs(defined: DefinedCases, cases: int) -> tuple[DropOff, ...]:
    """Return the cases that failed by the last step reached, in the order of the plan; unfinished
    ones are none of them."""
    dropped: Counter[int] = Counter()
    for variant in defined.variants:
        last = variant.progress.reached_steps[-1][0] if variant.progress.reached_steps else -1
        dropped[last] += variant.outcomes.get("dropped", 0)
    names = (None, *(step.name for step in defined.plan.steps))
    return tuple(
        DropOff(names[step + 1], count, count / cases)
        for step, count in sorted(dropped.items())
        if count
    )
