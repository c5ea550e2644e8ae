"""Traits that classify another trait by thresholds."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from pipeline.conditions import Path, Problem, duration_ms
from pipeline.config import model
from pipeline.config.compiled import Bucket
from pipeline.config.names import Names, check_name

TRAIT_PREFIX: Final = "trait."
"""Prefix of the trait in `of`."""


def bucket(trait: model.TraitDefinition, is_timed: bool) -> Bucket:
    """Compile a bucket, whose thresholds were checked."""
    values = _values(trait.thresholds)
    return Bucket(
        name=trait.name,
        source_trait=source_trait(trait),
        thresholds=tuple(sorted(values)),
        uses_age=isinstance(trait.thresholds[0], str),
        is_descending=list(values) != sorted(values),
        is_timed=is_timed,
    )


def source_trait(trait: model.TraitDefinition) -> str:
    """Return the trait that a bucket classifies."""
    return (trait.of or "").removeprefix(TRAIT_PREFIX)


def bucket_problems(trait: model.TraitDefinition, names: Names, path: Path) -> Iterator[Problem]:
    """Check a bucket, and yield its problems."""
    if trait.of is None or not trait.of.startswith(TRAIT_PREFIX):
        yield Problem((*path, "rule"), "bucket needs `of: trait.NAME`, which names another trait")
    elif source_trait(trait) in names.buckets:
        yield Problem(
            (*path, "of"), f"{source_trait(trait)} is a bucket itself: name the trait that it reads"
        )
    else:
        readable_traits = names.traits - names.scores
        yield from check_name("trait", source_trait(trait), readable_traits, (*path, "of"))
    for field in ("when", "window"):
        if getattr(trait, field) is not None:
            message = f"a bucket has no {field}: set it on the trait that it reads"
            yield Problem((*path, field), message)
    yield from _threshold_problems(trait.thresholds, path)


def _threshold_problems(thresholds: tuple[model.Threshold, ...], path: Path) -> Iterator[Problem]:
    if not thresholds:
        yield Problem((*path, "rule"), "bucket needs `thresholds`, such as [50, 200, 1000]")
        return
    thresholds_path = (*path, "thresholds")
    if len({isinstance(threshold, str) for threshold in thresholds}) > 1:
        yield Problem(thresholds_path, "thresholds are numbers or durations, not both")
        return
    directions = {later > earlier for earlier, later in pairwise(_values(thresholds))}
    if len(directions) > 1 or len(set(_values(thresholds))) < len(thresholds):
        yield Problem(thresholds_path, "thresholds must all ascend, or all descend")


def _values(thresholds: tuple[model.Threshold, ...]) -> tuple[float, ...]:
    return tuple(
        duration_ms(threshold) if isinstance(threshold, str) else threshold
        for threshold in thresholds
    )
