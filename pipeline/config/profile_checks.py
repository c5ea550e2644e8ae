"""Checks of profile.yaml, and of the properties in sources.yaml."""

from collections.abc import Iterator

from msgspec.structs import replace

from pipeline.conditions import Path, Problem
from pipeline.config import model
from pipeline.config.aggregates import RULES_WITHOUT_VALUE
from pipeline.config.buckets import bucket_problems
from pipeline.config.dates import start_ms
from pipeline.config.derived import PREFIX, derived_names
from pipeline.config.names import Names, check_name, is_built_in
from pipeline.config.readers import PATH_FORMS, reader
from pipeline.config.scores import feature_problems, score_problems
from pipeline.config.zones import zone


def profile_problems(bundle: model.Bundle, names: Names) -> Iterator[Problem]:
    """Check everything except conditions, and yield each problem with its path."""
    yield from _source_problems(bundle.sources)
    yield from _trait_problems(bundle.profile, names)
    yield from _enricher_problems(bundle.profile.enrichers)
    yield from score_problems(bundle.profile.scores, names)
    yield from feature_problems(bundle.profile.features, names)


def _source_problems(sources: model.Sources) -> Iterator[Problem]:
    for index, source in enumerate(sources.sources):
        if not _is_since_1970(source.earliest):
            message = f"{source.earliest!r} is not a date since 1970: write 2024-03-01"
            yield Problem(("sources", "sources", index, "earliest"), message)
        for name, value_path in source.properties.items():
            yield from _path_problems(value_path, ("sources", "sources", index, "properties", name))


def _is_since_1970(day: str) -> bool:
    try:
        return start_ms(day) >= 0
    except (ValueError, OverflowError):
        return False


def _trait_problems(profile: model.ProfileRules, names: Names) -> Iterator[Problem]:
    for index, trait in enumerate(profile.traits):
        path: Path = ("profile", "traits", index)
        if is_built_in(trait.name):
            yield Problem((*path, "name"), f"{trait.name} is built in: choose another name")
        if trait.rule == "bucket":
            yield from bucket_problems(trait, names, path)
            continue
        if trait.thresholds:
            yield Problem((*path, "thresholds"), "only a bucket has thresholds")
        takes_no_value = trait.rule in RULES_WITHOUT_VALUE
        if takes_no_value and trait.of is not None:
            yield Problem((*path, "of"), f"{trait.rule} has no `of`: leave it out, or use sum")
        if not takes_no_value and trait.of is None:
            yield Problem((*path, "rule"), f"{trait.rule} needs `of`: one of {PATH_FORMS}")
        if trait.of is not None:
            yield from _value_problems(trait.of, names, (*path, "of"))


def _value_problems(value_path: str, names: Names, path: Path) -> Iterator[Problem]:
    if reader(value_path) is None:
        yield Problem(path, f"no value at {value_path!r}: one of {PATH_FORMS}")
    elif value_path.startswith(PREFIX):
        yield from check_name(
            "derived value", value_path.removeprefix(PREFIX), names.derived_values, path
        )


def _path_problems(value_path: str, path: Path) -> Iterator[Problem]:
    """Yield a problem where a path leads to no value from the sender."""
    if reader(value_path) is None or value_path.startswith(PREFIX):
        yield Problem(path, f"no value at {value_path!r}: properties.NAME or context.NAME")


def _enricher_problems(enrichers: model.Enrichers) -> Iterator[Problem]:
    path: Path = ("profile", "enrichers")
    local_time, currency = enrichers.local_time, enrichers.currency
    if local_time is not None and zone(local_time.zone) is None:
        message = f"no time zone {local_time.zone!r}: use a name such as Europe/Madrid"
        yield Problem((*path, "local_time", "zone"), message)
    if currency is not None:
        other_names = derived_names(replace(enrichers, currency=None))
        yield from _currency_problems(currency, frozenset(other_names), (*path, "currency"))


def _currency_problems(
    currency: model.Currency, other_names: frozenset[str], path: Path
) -> Iterator[Problem]:
    yield from _path_problems(currency.currency, (*path, "currency"))
    for name, value_path in currency.amounts.items():
        yield from _path_problems(value_path, (*path, "amounts", name))
        if name in other_names:
            message = f"{name} is derived by another enricher: choose another name"
            yield Problem((*path, "amounts", name), message)
    for index, rate in enumerate(currency.rates):
        try:
            start_ms(rate.since)
        except ValueError:
            message = f"{rate.since!r} is not a date: write 2024-03-01"
            yield Problem((*path, "rates", index, "since"), message)
