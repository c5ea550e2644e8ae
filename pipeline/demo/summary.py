"""Summary of the demo, counted from the topics."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from pipeline.adapters.lag import record_counts
from pipeline.flow import STAGES
from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.decision import Action, Decision
from pipeline.model.fingerprint import fingerprint
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Interaction
from pipeline.profile_reads.member_profiles import open_profiles

_MAIN_OUTPUT = {
    "identity": topics.IDENTIFIED,
    "enrichment": topics.ENRICHED,
    "segmentation": topics.SEGMENTED,
    "decisioning": topics.DECISIONS,
}


@dataclass(frozen=True, slots=True)
class StageCount:
    """Numbers of a stage's records: `received` over all input topics, `sent` to the next stage."""

    stage: str
    received: int
    sent: int
    dead_lettered: int


@dataclass(frozen=True, slots=True)
class CampaignCount:
    """Number of a campaign's actions on a channel, and of reports of each outcome."""

    campaign: str
    channel: str
    actions: int
    outcomes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of the topics; `merges`: number of identifiers that had a profile of their own before
    joining another one."""

    stages: tuple[StageCount, ...]
    profiles: int
    merges: int
    segments: dict[str, int]
    campaigns: tuple[CampaignCount, ...]
    decisions: int
    fingerprint: str


def summarise(records: Records, channels: tuple[str, ...], log_ids: frozenset[str]) -> Summary:
    """Summarise all topics; decisions and their fingerprint are those of `log_ids` only."""
    decisions = [
        decision
        for _, decision in records.read_all(topics.DECISIONS, Decision)
        if decision.event_id in log_ids
    ]
    profile_count, segment_sizes = 0, Counter[str]()
    with open_profiles(records) as profiles:
        for profile in profiles:
            profile_count += 1
            segment_sizes.update(profile.members.keys())
    return Summary(
        stages=_stage_counts(records),
        profiles=profile_count,
        merges=_merge_count(records),
        segments=dict(sorted(segment_sizes.items())),
        campaigns=_campaign_counts(records, channels),
        decisions=len(decisions),
        fingerprint=fingerprint(decisions),
    )


def _stage_counts(records: Records) -> tuple[StageCount, ...]:
    names = [*(topic for stage in STAGES for topic in stage.inputs), *_MAIN_OUTPUT.values()]
    counts = record_counts(records.settings.kafka(), names)
    dead_letter_records = records.read_all(topics.DEAD_LETTERS, DeadLetterRecord)
    dead_letters = Counter(letter.stage for _, letter in dead_letter_records)
    return tuple(
        StageCount(
            stage.name,
            sum(counts[topic] for topic in stage.inputs),
            counts[_MAIN_OUTPUT[stage.name]],
            dead_letters[stage.name],
        )
        for stage in STAGES
    )


def _merge_count(records: Records) -> int:
    profile_ids_by_identifier: defaultdict[str, set[str | None]] = defaultdict(set)
    for _, change in records.read_all(topics.IDENTITIES, IdentityChange):
        if change.kind == "resolved":
            profile_ids_by_identifier[change.identifier].add(change.profile_id)
    return sum(len(profile_ids) > 1 for profile_ids in profile_ids_by_identifier.values())


def _campaign_counts(records: Records, channels: tuple[str, ...]) -> tuple[CampaignCount, ...]:
    actions = Counter(
        (action.campaign, action.channel)
        for channel in channels
        for _, action in records.read_all(topics.actions(channel), Action)
    )
    outcomes: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for _, interaction in records.read_all(topics.INTERACTIONS, Interaction):
        if interaction.kind == "outcome":
            outcomes[str(interaction.properties["campaign"]), interaction.channel][
                interaction.name
            ] += 1
    return tuple(
        CampaignCount(campaign, channel, count, dict(outcomes[campaign, channel]))
        for (campaign, channel), count in sorted(actions.items())
    )
