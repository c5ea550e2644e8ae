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
        for _, decision in records.every(topics.DECISIONS, Decision)
        if decision.event_id in log_ids
    ]
    profiles, sizes = 0, Counter[str]()
    with open_profiles(records) as people:
        for person in people:
            profiles += 1
            sizes.update(person.members.keys())
    return Summary(
        stages=_stages(records),
        profiles=profiles,
        merges=_merges(records),
        segments=dict(sorted(sizes.items())),
        campaigns=_campaigns(records, channels),
        decisions=len(decisions),
        fingerprint=fingerprint(decisions),
    )


def _stages(records: Records) -> tuple[StageCount, ...]:
    names = [*(topic for stage in STAGES for topic in stage.inputs), *_MAIN_OUTPUT.values()]
    counts = record_counts(records.settings.kafka(), names)
    letters = records.every(topics.DEAD_LETTERS, DeadLetterRecord)
    dead_letters = Counter(letter.stage for _, letter in letters)
    return tuple(
        StageCount(
            stage.name,
            sum(counts[topic] for topic in stage.inputs),
            counts[_MAIN_OUTPUT[stage.name]],
            dead_letters[stage.name],
        )
        for stage in STAGES
    )


def _merges(records: Records) -> int:
    profile_ids: defaultdict[str, set[str | None]] = defaultdict(set)
    for _, change in records.every(topics.IDENTITIES, IdentityChange):
        if change.kind == "resolved":
            profile_ids[change.identifier].add(change.profile_id)
    return sum(len(profiles) > 1 for profiles in profile_ids.values())


def _campaigns(records: Records, channels: tuple[str, ...]) -> tuple[CampaignCount, ...]:
    actions = Counter(
        (action.campaign, action.channel)
        for channel in channels
        for _, action in records.every(topics.actions(channel), Action)
    )
    outcomes: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for _, interaction in records.every(topics.INTERACTIONS, Interaction):
        if interaction.kind == "outcome":
            outcomes[str(interaction.properties["campaign"]), interaction.channel][
                interaction.name
            ] += 1
    return tuple(
        CampaignCount(campaign, channel, count, dict(outcomes[campaign, channel]))
        for (campaign, channel), count in sorted(actions.items())
    )
