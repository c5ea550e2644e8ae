"""Checks of a bundle beyond the form of its parts, such as references to undefined names."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Final

from pipeline.conditions import Condition, Path, Problem, parse
from pipeline.conditions.reads import named_channels, patterns, reads
from pipeline.conditions.tree import is_hidden
from pipeline.config import canonical, model
from pipeline.config.campaign_checks import campaign_problems
from pipeline.config.catalogs import catalog_problems, item_events
from pipeline.config.channel_checks import channel_problems
from pipeline.config.ingest_checks import ingest_problems
from pipeline.config.learned import learned_problems
from pipeline.config.names import Names, check_name, names_of
from pipeline.config.normalise import is_known_region
from pipeline.config.origins import origin_problem
from pipeline.config.policy_checks import (
    engagement_sites,
    policy_problems,
    policy_sites,
    repetition_problems,
)
from pipeline.config.profile_checks import profile_problems
from pipeline.config.regex import PatternProblem, pattern

_EMPTY_ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _ConditionSite:
    """Place of a condition, and what the condition may read."""

    path: Path
    raw: model.Condition | None
    may_read_profile: bool = True
    may_use_entered: bool = False


def check(
    bundle: model.Bundle, environment: Mapping[str, str] = _EMPTY_ENVIRONMENT
) -> Iterator[Problem]:
    """Yield every problem, with its path in the bundle.

    A URL is checked with its variables where `environment` defines them.
    """
    names = names_of(bundle)
    yield from _duplicate_problems(bundle)
    yield from _source_problems(bundle.sources, names)
    yield from _identity_problems(bundle.identity, names)
    yield from profile_problems(bundle, names)
    yield from channel_problems(bundle, names, environment)
    yield from policy_problems(bundle, names)
    yield from _segment_problems(bundle, names)
    yield from ingest_problems(bundle, names)
    yield from learned_problems(bundle)
    for index, campaign in enumerate(bundle.campaigns):
        yield from campaign_problems(campaign, ("campaigns", index), bundle, names)
    for index, catalog in enumerate(bundle.catalogs):
        yield from catalog_problems(catalog, ("catalogs", index), names)
    problems_of_conditions = list(_condition_problems(bundle, names))
    yield from problems_of_conditions
    if not problems_of_conditions:
        yield from _cycle_problems(bundle)


def segment_order(bundle: model.Bundle) -> list[model.Segment]:
    """Order segments so that each follows those it reads. Raises CycleError for a cycle."""
    by_name = {segment.segment: segment for segment in bundle.segments}
    dependencies = {name: sorted(_segments_read(by_name[name])) for name in sorted(by_name)}
    return [by_name[name] for name in TopologicalSorter(dependencies).static_order()]


def _segments_read(segment: model.Segment) -> frozenset[str]:
    tree = parse(segment.when)
    return frozenset() if isinstance(tree, tuple) else reads(tree).segments


def _cycle_problems(bundle: model.Bundle) -> Iterator[Problem]:
    try:
        segment_order(bundle)
    except CycleError as error:
        names = list(reversed(error.args[1]))
        index = [segment.segment for segment in bundle.segments].index(names[0])
        cycle = " -> ".join(names)
        yield Problem(("segments", index, "when"), f"segments depend on themselves: {cycle}")


def _duplicate_problems(bundle: model.Bundle) -> Iterator[Problem]:
    sources, servers = bundle.sources.sources, bundle.sources.server_keys
    yield from repetition_problems(
        "source", ("sources", "sources"), "name", [source.name for source in sources]
    )
    yield from repetition_problems(
        "write key", ("sources", "sources"), "write_key", [source.write_key for source in sources]
    )
    write_keys = {source.write_key for source in sources}
    yield from repetition_problems(
        "server key", ("sources", "server_keys"), "key", [server.key for server in servers]
    )
    for index, server in enumerate(servers):
        if server.key in write_keys:
            message = "this is also a write key, and write keys must not read: make another key"
            yield Problem(("sources", "server_keys", index, "key"), message)
    namespaces = [namespace.name for namespace in bundle.identity.namespaces]
    yield from repetition_problems("namespace", ("identity", "namespaces"), "name", namespaces)
    traits = [trait.name for trait in bundle.profile.traits]
    yield from repetition_problems("trait", ("profile", "traits"), "name", traits)
    scores = [score.name for score in bundle.profile.scores]
    yield from repetition_problems("score", ("profile", "scores"), "name", scores)
    channels = [channel.name for channel in bundle.channels.channels]
    yield from repetition_problems("channel", ("channels", "channels"), "name", channels)
    yield from repetition_problems(
        "segment", ("segments",), "segment", [segment.segment for segment in bundle.segments]
    )
    campaigns = [campaign.campaign for campaign in bundle.campaigns]
    yield from repetition_problems("campaign", ("campaigns",), "campaign", campaigns)
    yield from repetition_problems(
        "catalog", ("catalogs",), "catalog", [catalog.catalog for catalog in bundle.catalogs]
    )


def _source_problems(sources: model.Sources, names: Names) -> Iterator[Problem]:
    for index, source in enumerate(sources.sources):
        path: Path = ("sources", "sources", index)
        for assert_index, name in enumerate(source.asserts or ()):
            assert_path = (*path, "asserts", assert_index)
            yield from check_name("namespace", name, names.namespaces, assert_path)
        for origin_index, origin in enumerate(source.origins or ()):
            reason = origin_problem(origin)
            if reason is not None:
                yield Problem((*path, "origins", origin_index), reason)
        if source.trust == "trusted":
            for field in ("asserts", "secret"):
                if getattr(source, field) is not None:
                    message = f"{field} is for sources with `trust: public` only"
                    yield Problem((*path, field), message)
        elif source.clock == "log":
            yield Problem((*path, "trust"), "a source with `clock: log` cannot be public")
        elif source.name == model.ADAPTERS:
            yield Problem((*path, "trust"), "the source of Kairos's own adapters cannot be public")


def _identity_problems(identity: model.Identity, names: Names) -> Iterator[Problem]:
    settings = canonical.explicit_fields(identity)
    for field in ("user_id", "anonymous_id"):
        if field in settings:
            name = getattr(identity, field)
            yield from check_name("namespace", name, names.namespaces, ("identity", field))
    region = identity.phone_region
    if region is not None and not is_known_region(region):
        message = f"no country {region!r}: use its two letters of ISO 3166, such as ES"
        yield Problem(("identity", "phone_region"), message)
    for index, text in enumerate(identity.blocked_patterns):
        compiled_pattern = pattern(text)
        if isinstance(compiled_pattern, PatternProblem):
            yield Problem(("identity", "blocked_patterns", index), compiled_pattern.reason)


def _segment_problems(bundle: model.Bundle, names: Names) -> Iterator[Problem]:
    for index, segment in enumerate(bundle.segments):
        for channel_index, channel in enumerate(segment.channels):
            path = ("segments", index, "channels", channel_index)
            yield from check_name("channel", channel, names.interaction_channels, path)


def _condition_problems(bundle: model.Bundle, names: Names) -> Iterator[Problem]:
    for site in _sites(bundle):
        tree = parse(site.raw) if site.raw is not None else None
        if isinstance(tree, tuple):
            yield from (problem.under(site.path) for problem in tree)
        elif tree is not None:
            yield from _reference_problems(tree, site, names)


def _sites(bundle: model.Bundle) -> Iterator[_ConditionSite]:
    for index, trait in enumerate(bundle.profile.traits):
        yield _ConditionSite(
            ("profile", "traits", index, "when"), trait.when, may_read_profile=False
        )
    for index, score in enumerate(bundle.profile.scores):
        if score.goal is not None:
            yield _ConditionSite(("profile", "scores", index, "goal", "when"), score.goal.when)
    for index, segment in enumerate(bundle.segments):
        yield _ConditionSite(("segments", index, "when"), segment.when)
    for index, campaign in enumerate(bundle.campaigns):
        path: Path = ("campaigns", index)
        yield _ConditionSite((*path, "audience"), campaign.audience)
        yield _ConditionSite((*path, "trigger"), campaign.trigger, may_use_entered=True)
        if campaign.goal is not None:
            yield _ConditionSite((*path, "goal", "when"), campaign.goal.when)
        yield from _rule_sites(campaign, path)
        for offer_index, offer in enumerate(campaign.offers):
            offer_path: Path = (*path, "offers", offer_index)
            yield _ConditionSite((*offer_path, "when"), offer.when)
            yield from _rule_sites(offer, offer_path)
            for treatment_index, treatment in enumerate(offer.treatments):
                yield from _rule_sites(treatment, (*offer_path, "treatments", treatment_index))
    for path, raw in (*_item_sites(bundle.catalogs), *policy_sites(bundle.policies)):
        yield _ConditionSite(path, raw)


def _item_sites(
    catalogs: Iterable[model.Catalog],
) -> Iterator[tuple[Path, model.Condition | None]]:
    for index, catalog in enumerate(catalogs):
        for name, event in item_events(catalog):
            yield ("catalogs", index, "events", name, "when"), event.when


def _rule_sites(engagement: model.Engagement, path: Path) -> Iterator[_ConditionSite]:
    for site_path, raw in engagement_sites(engagement, path):
        yield _ConditionSite(site_path, raw)


def _reference_problems(tree: Condition, site: _ConditionSite, names: Names) -> Iterator[Problem]:
    references = reads(tree)
    if not site.may_read_profile and (
        references.traits or references.segments or references.entered_segments
    ):
        message = "the condition of a trait can read only interactions, no traits or segments"
        yield Problem(site.path, message)
        return
    if references.entered_segments and not site.may_use_entered:
        yield Problem(site.path, "entered belongs in a campaign's trigger: use segment here")
    if any(
        not _reads_interactions_only(part) for pattern in patterns(tree) for part in pattern.parts
    ):
        message = "sequences and absences match interactions: they cannot read traits or segments"
        yield Problem(site.path, message)
    trait_names = frozenset(name for name in references.traits if not is_hidden(name))
    for kind, reference_names, definitions in (
        ("trait", trait_names, names.traits),
        ("segment", references.segments | references.entered_segments, names.segments),
        ("channel", named_channels(tree), names.interaction_channels),
        ("derived value", references.derived_names, names.derived_values),
    ):
        for name in sorted(reference_names):
            yield from check_name(
                kind, name, definitions, (*site.path, *_path_to_name(site.raw, name))
            )


def _reads_interactions_only(part: Condition) -> bool:
    references = reads(part)
    return not (references.traits or references.segments or references.entered_segments)


def _path_to_name(raw: object, name: str) -> Path:
    """Return the path of `name` in a condition."""
    parts: Iterable[tuple[str | int, object]] = ()
    if isinstance(raw, dict):
        parts = raw.items()
    elif isinstance(raw, list):
        parts = enumerate(raw)
    for key, value in parts:
        if value == name and key != "property":
            return (key,)
        if inner := _path_to_name(value, name):
            return (key, *inner)
    return ()
