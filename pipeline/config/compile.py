"""Compilation of a bundle: all names are resolved, and all texts parsed and checked."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final

from pipeline.conditions import CompiledCondition, Problem, duration_ms
from pipeline.conditions.compile import Read
from pipeline.conditions.reads import reads
from pipeline.config import canonical, model, policies
from pipeline.config.aggregates import AggregateIndex, aggregates_of, index_aggregates
from pipeline.config.buckets import bucket, source_trait
from pipeline.config.budgets import BudgetRule, budget_rules
from pipeline.config.catalogs import item_events
from pipeline.config.checks import check, segment_order
from pipeline.config.compiled import (
    Bucket,
    CompiledCampaign,
    CompiledCandidate,
    CompiledCap,
    CompiledChannel,
    CompiledScore,
    CompiledSegment,
    CompiledSequence,
    CompiledTrait,
    Constraints,
    Entry,
    LearningRules,
)
from pipeline.config.conditions import compile_condition
from pipeline.config.dates import start_ms
from pipeline.config.derived import BOT, derived_names_read
from pipeline.config.entries import Proposal, entries_by_placement, outbound_entries, proposals
from pipeline.config.identity import IdentityRules, identity_rules
from pipeline.config.keys import key_digest, stored_key
from pipeline.config.origins import Origins, origins_by_source
from pipeline.config.patterns import latest_times, sequences
from pipeline.config.readers import reader
from pipeline.config.scores import compile_score
from pipeline.config.segment_index import SegmentIndex, index_segments
from pipeline.config.source_restrictions import SourceRestriction, restrictions
from pipeline.model.time import EARLIEST

__all__ = [
    "CompiledCap",
    "CompiledChannel",
    "CompiledSegment",
    "CompiledTrait",
    "Configuration",
    "Entry",
    "compile_bundle",
]


_EARLIEST_MS: Final = start_ms(EARLIEST)


@dataclass(frozen=True, slots=True)
class Configuration:
    """Compiled version of the configuration.

    `segments` follow those that they read. `placement_entries` (by placement) and
    `outbound_entries` hold the candidates for a slot, in the order of campaigns, offers,
    treatments; `outbound_candidates` the outbound ones by campaign and treatment. Adapters of
    `reporting_channels` report undelivered messages.
    `sources` is keyed by the write key's digest; `server_keys` maps digests to names. By source
    name: `log_sources` have `clock: log`, `earliest_times` (ms) are those of their events,
    `restrictions` are those of public sources, `origins` the allowed pages where a source names
    them, `mappings` the properties to fill in, with their readers.
    `derived_values`: all that are read; `carried_values`: those that later stages read.
    `counts_bots`: whether traits count interactions of bots. `read_traits`: traits that a
    condition, a content or an address reads. `learning`: None where nothing is learned. `budgets`:
    enforced budgets of campaigns and stocks of items, by name. `placements`: those of all channels.
    """

    digest: str
    bundle: model.Bundle
    identity: IdentityRules
    sources: Mapping[str, model.Source]
    server_keys: Mapping[str, str]
    log_sources: frozenset[str]
    earliest_times: Mapping[str, int]
    restrictions: Mapping[str, SourceRestriction]
    origins: Mapping[str, Origins]
    mappings: Mapping[str, tuple[tuple[str, Read], ...]]
    session_gap_ms: int
    derived_values: frozenset[str]
    carried_values: frozenset[str]
    counts_bots: bool
    aggregates: AggregateIndex
    traits: tuple[CompiledTrait, ...]
    buckets: tuple[Bucket, ...]
    scores: tuple[CompiledScore, ...]
    sequences: tuple[CompiledSequence, ...]
    read_traits: tuple[str, ...]
    segments: tuple[CompiledSegment, ...]
    segment_index: SegmentIndex
    placement_entries: Mapping[str, tuple[Entry, ...]]
    outbound_entries: tuple[Entry, ...]
    outbound_candidates: Mapping[tuple[str, str], tuple[CompiledCampaign, CompiledCandidate]]
    reporting_channels: frozenset[str]
    constraints: Constraints
    learning: LearningRules | None
    budgets: Mapping[str, BudgetRule]
    channels: Mapping[str, CompiledChannel]
    placements: frozenset[str]

    def earliest_time(self, source: str) -> int:
        """Return the earliest time (epoch ms) that an event of this source may have."""
        return self.earliest_times.get(source, _EARLIEST_MS)

    @classmethod
    def from_json(cls, body: str) -> "Configuration":
        """Compile an applied configuration. Raises ValueError when `body` is not valid."""
        configuration = compile_bundle(canonical.from_json(body))
        if isinstance(configuration, Configuration):
            return configuration
        raise ValueError(f"{configuration[0].path}: {configuration[0].message}")

    def source_by_key(self, write_key: str) -> model.Source | None:
        """Return the source of a write key, if there is one."""
        return self.sources.get(key_digest(write_key))

    @property
    def needs_learner(self) -> bool:
        """Whether evidence is learned, or budgets are leased."""
        learns = self.learning is not None and self.learning.fixed_snapshot is None
        return learns or bool(self.budgets)

    def allows_origin(self, origin: str) -> bool:
        """Return whether pages of this origin may send with the key of at least one source."""
        return len(self.origins) < len(self.sources) or any(
            origins.allows(origin) for origins in self.origins.values()
        )

    def server_key_name(self, key: str) -> str | None:
        """Return the name of a server key, if it is one."""
        return self.server_keys.get(key_digest(key))

    def source_by_name(self, name: str) -> model.Source | None:
        """Return the source with this name in sources.yaml."""
        return next((source for source in self.sources.values() if source.name == name), None)

    @property
    def caps(self) -> tuple[CompiledCap, ...]:
        """Caps of policies.yaml, of campaigns and of offers."""
        return self.constraints.caps

    def to_json(self) -> str:
        """Return the canonical JSON whose digest is `digest`."""
        return canonical.to_json(self.bundle)


def compile_bundle(bundle: model.Bundle) -> Configuration | tuple[Problem, ...]:
    """Compile a bundle, or return all its problems."""
    problems = tuple(check(bundle))
    return problems or _compile(bundle)


def _compile(bundle: model.Bundle) -> Configuration:
    all_proposals = proposals(bundle)
    all_outbound_entries = outbound_entries(all_proposals)
    segments = tuple(_segment(segment) for segment in segment_order(bundle))
    profile, sources = bundle.profile, bundle.sources.sources
    channels = bundle.channels.channels
    user_agent = profile.enrichers.user_agent
    trees = [condition.tree for condition in _conditions(bundle, segments, all_proposals)]
    index = index_segments(segments)
    timed_traits = _timed_traits(profile, index)
    learns = bundle.policies.learning is not None
    bots = frozenset((BOT,) if learns and user_agent is not None else ())
    traits = (*_traits(profile, timed_traits), *latest_times(trees))
    return Configuration(
        digest=canonical.digest_of(canonical.to_json(bundle)),
        bundle=bundle,
        identity=identity_rules(bundle.identity),
        sources={stored_key(source.write_key): source for source in sources},
        server_keys={stored_key(key.key): key.name for key in bundle.sources.server_keys},
        restrictions=restrictions(bundle),
        origins=origins_by_source(sources),
        log_sources=frozenset(source.name for source in sources if source.clock == "log"),
        earliest_times={source.name: start_ms(source.earliest) for source in sources},
        mappings={source.name: _mapping(source) for source in sources if source.properties},
        session_gap_ms=duration_ms(profile.session_gap),
        derived_values=derived_names_read(profile, trees) | bots,
        carried_values=bots.union(*(reads(tree).derived_names for tree in trees)),
        counts_bots=user_agent is None or user_agent.count_bots,
        aggregates=index_aggregates(chain.from_iterable(trait.aggregates for trait in traits)),
        traits=traits,
        buckets=tuple(bucket(trait, trait.name in timed_traits) for trait in _buckets(profile)),
        scores=tuple(compile_score(score) for score in profile.scores),
        sequences=sequences(trees),
        read_traits=tuple(sorted(set(_read_traits(bundle, segments, all_proposals)))),
        segments=segments,
        segment_index=index,
        placement_entries=entries_by_placement(all_proposals),
        outbound_entries=all_outbound_entries,
        outbound_candidates=_candidates_by_treatment(all_outbound_entries),
        reporting_channels=_reporting_channels(bundle.channels),
        constraints=policies.constraints(bundle),
        learning=policies.learning(bundle),
        budgets=budget_rules(bundle),
        channels={channel.name: _channel(channel, bundle) for channel in channels},
        placements=frozenset(chain.from_iterable(channel.placements for channel in channels)),
    )


def _candidates_by_treatment(
    entries: Iterable[Entry],
) -> Mapping[tuple[str, str], tuple[CompiledCampaign, CompiledCandidate]]:
    return {
        (candidate.campaign, candidate.treatment): (entry.campaign, candidate)
        for entry in entries
        for candidate in entry.candidates
    }


def _reporting_channels(channels: model.Channels) -> frozenset[str]:
    return frozenset(channel.name for channel in channels.channels if channel.adapter != "none")


def _mapping(source: model.Source) -> tuple[tuple[str, Read], ...]:
    return tuple(
        (name, read) for name, of in source.properties.items() if (read := reader(of)) is not None
    )


def _timed_traits(profile: model.ProfileRules, index: SegmentIndex) -> frozenset[str]:
    """Return the traits that segments read, directly or in a score or a bucket."""
    names = set(index.segments_by_trait)
    for score in map(compile_score, profile.scores):
        if score.name in names:
            names.update(feature.trait for feature in score.features)
    return frozenset(
        names.union(
            source_trait(definition) for definition in _buckets(profile) if definition.name in names
        )
    )


def _traits(profile: model.ProfileRules, timed_traits: frozenset[str]) -> Iterator[CompiledTrait]:
    for trait in profile.traits:
        if trait.rule != "bucket":
            is_timed = trait.window is not None and trait.name in timed_traits
            yield CompiledTrait(trait.name, trait.rule, aggregates_of(trait), is_timed)


def _buckets(profile: model.ProfileRules) -> Iterator[model.TraitDefinition]:
    return (trait for trait in profile.traits if trait.rule == "bucket")


def _segment(segment: model.Segment) -> CompiledSegment:
    condition = compile_condition(segment.when)
    return CompiledSegment(segment.segment, condition.test, condition, frozenset(segment.channels))


def _channel(channel: model.Channel, bundle: model.Bundle) -> CompiledChannel:
    providers = {provider.provider: provider for provider in bundle.providers}
    return CompiledChannel(
        name=channel.name,
        adapter=channel.adapter,
        url=channel.url,
        secret=channel.secret,
        placements=channel.placements,
        email=channel.email,
        provider=providers.get(channel.provider or ""),
        push=channel.push,
        pos=channel.pos,
    )


def _conditions(
    bundle: model.Bundle, segments: tuple[CompiledSegment, ...], all_proposals: tuple[Proposal, ...]
) -> Iterator[CompiledCondition]:
    """Return every condition on a profile, each once."""
    every_condition = _every_condition(bundle, segments, all_proposals)
    return iter({id(condition): condition for condition in every_condition}.values())


def _every_condition(
    bundle: model.Bundle, segments: tuple[CompiledSegment, ...], all_proposals: tuple[Proposal, ...]
) -> Iterator[CompiledCondition]:
    for segment in segments:
        yield segment.condition
    goals = (
        *(campaign.goal for campaign in bundle.campaigns),
        *(score.goal for score in bundle.profile.scores),
    )
    yield from (compile_condition(goal.when) for goal in goals if goal is not None)
    for catalog in bundle.catalogs:
        yield from (compile_condition(event.when) for _, event in item_events(catalog))
    yield from policies.conditions(bundle.policies)
    for proposal in all_proposals:
        yield from proposal.conditions()


def _read_traits(
    bundle: model.Bundle, segments: tuple[CompiledSegment, ...], all_proposals: tuple[Proposal, ...]
) -> Iterator[str]:
    for condition in _conditions(bundle, segments, all_proposals):
        yield from condition.reads.traits
    yield from policies.traits(bundle.policies)
    yield from bundle.profile.features
    for score in bundle.profile.scores:
        if score.goal is not None:
            yield from (feature.trait for feature in compile_score(score).features)
    for proposal in all_proposals:
        yield from proposal.traits
