"""Contents of the topics once everything is processed."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeAlias, TypeVar

import msgspec

from agents.idempotence import Row
from agents.wallets import PURSE, PurseRow
from pipeline.adapters.avro import Codec
from pipeline.adapters.snapshots import StoredRecord, scan
from pipeline.config.compile import Configuration
from pipeline.flow import Stage, stage
from pipeline.home.applied_configuration import applied_configuration
from pipeline.home.codec import open_codec
from pipeline.home.load_rules import load_rules
from pipeline.model import topics
from pipeline.model.budget import BudgetRecord, Purse
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.decision import Action, Cancellation, Decision
from pipeline.model.interaction import Interaction
from pipeline.model.learning import SNAPSHOT, LearningRecord
from pipeline.model.profile import Memberships, Profile
from pipeline.model.stages import Enriched, Identified, Segmented
from pipeline.rules import Rules
from pipeline.settings import Settings
from tests.support.compacted import compact

T = TypeVar("T", bound=msgspec.Struct)

Record: TypeAlias = tuple[int, str, Any]
"""Partition, key and value of a record."""
Purses: TypeAlias = dict[tuple[int, str], Purse]
"""Purses by partition of the decisioning stage's input, and name of the budget."""


@dataclass(frozen=True)
class TopicEvidence:
    """Records of topics, read on first use, in order within each partition. `read_log` reads a
    topic from its beginning to its present end."""

    read_log: Callable[[str], Iterable[StoredRecord]]
    codec: Codec
    rules: Rules

    @classmethod
    def of(cls, settings: Settings) -> "TopicEvidence":
        """Return the evidence in a running broker."""
        config = applied_configuration(settings)
        assert isinstance(config, Configuration)
        rules = load_rules(config, settings)
        return cls(partial(scan, settings.kafka()), open_codec(settings), rules)

    @cached_property
    def interactions(self) -> list[tuple[StoredRecord, Interaction | None]]:
        """Every record of the topic, with None for an interaction that cannot be decoded."""
        return [
            (entry, record if isinstance(record, Interaction) else None)
            for entry, record in self._decode(topics.INTERACTIONS)
        ]

    @cached_property
    def first_interactions(self) -> dict[str, Interaction]:
        """Interactions by event id, at their first place in the log."""
        by_event_id: dict[str, Interaction] = {}
        for _, interaction in self.interactions:
            if interaction is not None:
                by_event_id.setdefault(interaction.event_id, interaction)
        return by_event_id

    @cached_property
    def identified(self) -> list[tuple[StoredRecord, Identified]]:
        return list(self._every(topics.IDENTIFIED, Identified))

    @cached_property
    def first_profiles(self) -> dict[str, str]:
        """Profile to which identity sent each interaction first, by event id."""
        first_records: dict[str, tuple[int, str]] = {}
        for entry, record in self.identified:
            if record.interaction is not None:
                event_id, timed_key = record.interaction.event_id, (entry.timestamp, entry.key)
                first_records[event_id] = min(first_records.get(event_id, timed_key), timed_key)
        return {event_id: key for event_id, (_, key) in first_records.items()}

    @cached_property
    def dead_letters(self) -> list[DeadLetterRecord]:
        return [letter for _, letter in self._every(topics.DEAD_LETTERS, DeadLetterRecord)]

    @cached_property
    def decisions(self) -> list[tuple[StoredRecord, Decision]]:
        return list(self._every(topics.DECISIONS, Decision))

    @cached_property
    def actions(self) -> list[Action]:
        """Actions of all channels."""
        return [action for topic in self.action_topics for _, action in self._every(topic, Action)]

    @cached_property
    def cancelled_ids(self) -> frozenset[str]:
        """Ids of cancelled actions."""
        cancellations = (
            cancellation for _, cancellation in self._every(topics.CANCELLATIONS, Cancellation)
        )
        return frozenset(
            record.action_id for record in cancellations if record.action_id is not None
        )

    @cached_property
    def outcomes(self) -> dict[str, set[str]]:
        """Reported outcomes, by action."""
        outcomes: defaultdict[str, set[str]] = defaultdict(set)
        for interaction in self.first_interactions.values():
            if interaction.kind == "outcome":
                outcomes[str(interaction.properties["action_id"])].add(interaction.name)
        return dict(outcomes)

    @property
    def action_topics(self) -> tuple[str, ...]:
        """Topics of all channels' actions."""
        return tuple(topics.actions(name) for name in self.rules.config.channels)

    @property
    def adapter_channels(self) -> frozenset[str]:
        """Channels with an adapter."""
        channels = self.rules.config.channels.values()
        return frozenset(channel.name for channel in channels if channel.adapter != "none")

    @cached_property
    def budgets(self) -> dict[str, BudgetRecord]:
        """Budgets by name, as the learner published them last."""
        return self._latest(topics.BUDGETS, BudgetRecord)

    @cached_property
    def snapshot(self) -> LearningRecord | None:
        """Newest snapshot of the learner."""
        return self._latest(topics.LEARNING, LearningRecord).get(SNAPSHOT)

    @cached_property
    def purses(self) -> Purses:
        """Purses as the decisioning stage's changelog has them."""
        decode = msgspec.msgpack.Decoder(PurseRow).decode
        prefix, purses = PURSE.decode(), Purses()
        for entry in self.read_log(f"{stage('decisioning').group}-rows-changelog"):
            if entry.key.startswith(prefix):
                purse_key = entry.partition, entry.key.removeprefix(prefix)
                if entry.value is None:
                    purses.pop(purse_key, None)
                else:
                    purses[purse_key] = decode(entry.value).purse
        return purses

    @cached_property
    def profiles(self) -> dict[str, Profile]:
        return self._latest(topics.PROFILES, Profile)

    @cached_property
    def memberships(self) -> dict[str, Memberships]:
        return self._latest(topics.MEMBERSHIPS, Memberships)

    def count_records(self) -> Iterator[tuple[str, Counter[str]]]:
        """Yield topics that stages write, with the number of records of each interaction.

        Records between stages are counted by event id and profile, since a moved profile passes its
        interactions on; decisions and actions by event id.
        """
        records_by_topic: tuple[
            tuple[str, Iterable[tuple[StoredRecord, Identified | Enriched | Segmented]]], ...
        ] = (
            (topics.IDENTIFIED, self.identified),
            (topics.ENRICHED, self._every(topics.ENRICHED, Enriched)),
            (topics.SEGMENTED, self._every(topics.SEGMENTED, Segmented)),
        )
        for topic, records in records_by_topic:
            keyed_interactions = ((entry.key, record.interaction) for entry, record in records)
            yield (
                topic,
                Counter(
                    f"{interaction.event_id} of {key}"
                    for key, interaction in keyed_interactions
                    if interaction
                ),
            )
        yield topics.DECISIONS, Counter(decision.event_id for _, decision in self.decisions)
        for topic in self.action_topics:
            yield topic, Counter(action.event_id for _, action in self._every(topic, Action))

    def inputs(self, stage: Stage) -> Iterator[Record]:
        """Yield the partitions, keys and records of a stage's input."""
        [topic] = stage.inputs
        for entry, record in self._decode(topic):
            yield entry.partition, entry.key, record

    def states(self, stage: Stage) -> dict[str, Any]:
        """Return states by key, as the stage's changelog has them."""
        decoder = msgspec.msgpack.Decoder(Row[stage.state])  # type: ignore[name-defined]
        changelog = compact(self.read_log(f"{stage.group}-rows-changelog"))
        states = {
            key[1:]: decoder.decode(entry.value).state
            for key, entry in changelog.items()
            if key.startswith("r") and entry.value is not None
        }
        return {key: state for key, state in states.items() if state is not None}

    def _decode(self, topic: str) -> Iterator[tuple[StoredRecord, Any]]:
        for entry in self.read_log(topic):
            yield entry, entry.value and self.codec.decode(topic, entry.value)

    def _every(self, topic: str, kind: type[T]) -> Iterator[tuple[StoredRecord, T]]:
        return (record for record in self._decode(topic) if isinstance(record[1], kind))

    def _latest(self, topic: str, kind: type[T]) -> dict[str, T]:
        last_records = compact(self.read_log(topic)).items()
        records = {
            key: self.codec.decode(topic, record.value)
            for key, record in last_records
            if record.value
        }
        return {key: record for key, record in records.items() if isinstance(record, kind)}
