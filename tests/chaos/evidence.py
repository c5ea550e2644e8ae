"""What the topics hold when everything has come to rest."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from agents.delivery import Row
from pipeline.adapters.records import Records
from pipeline.adapters.snapshots import Stored, scan
from pipeline.flow import Stage
from pipeline.model import topics
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.decision import Action, Decision
from pipeline.model.interaction import Interaction
from pipeline.model.profile import Memberships, Profile
from pipeline.model.stages import Identified
from pipeline.settings import Settings
from tests.support.compacted import latest, latest_records

EMAIL = topics.actions("email")


@dataclass(frozen=True)
class Evidence:
    """Read when first asked for, and then kept; in order within each partition."""

    settings: Settings

    @cached_property
    def records(self) -> Records:
        return Records.of(self.settings)

    @cached_property
    def interactions(self) -> list[tuple[Stored, Interaction | None]]:
        """Every record of the topic; None: it cannot be decoded."""
        found = []
        for stored in scan(self.settings.kafka(), topics.INTERACTIONS):
            value = stored.value
            record = (
                None if value is None else self.records.codec.decode(topics.INTERACTIONS, value)
            )
            found.append((stored, record if isinstance(record, Interaction) else None))
        return found

    @cached_property
    def first_interactions(self) -> dict[str, Interaction]:
        """By event id, as it stands in the log first."""
        found: dict[str, Interaction] = {}
        for _, one in self.interactions:
            if one is not None:
                found.setdefault(one.event_id, one)
        return found

    @cached_property
    def identified_under(self) -> dict[str, str]:
        """The profile that identity first put each interaction under, by event id."""
        found: dict[str, tuple[int, str]] = {}
        for stored, one in self.records.every(topics.IDENTIFIED, Identified):
            if one.interaction is not None:
                event_id, mine = one.interaction.event_id, (stored.timestamp, stored.key)
                found[event_id] = min(found.get(event_id, mine), mine)
        return {event_id: key for event_id, (_, key) in found.items()}

    @cached_property
    def dead_letters(self) -> list[DeadLetterRecord]:
        return [one for _, one in self.records.every(topics.DEAD_LETTERS, DeadLetterRecord)]

    @cached_property
    def decisions(self) -> list[tuple[Stored, Decision]]:
        return list(self.records.every(topics.DECISIONS, Decision))

    @cached_property
    def actions(self) -> list[Action]:
        """What was to be delivered by e-mail."""
        return [one for _, one in self.records.every(EMAIL, Action)]

    @cached_property
    def profiles(self) -> dict[str, Profile]:
        return latest_records(self.records, topics.PROFILES, Profile)

    @cached_property
    def memberships(self) -> dict[str, Memberships]:
        return latest_records(self.records, topics.MEMBERSHIPS, Memberships)

    def inputs(self, stage: Stage) -> Iterator[tuple[str, Any]]:
        """Keys and records of the stage's own input."""
        [topic] = stage.inputs
        for stored in scan(self.settings.kafka(), topic):
            record = stored.value and self.records.codec.decode(topic, stored.value)
            yield stored.key, record

    def states(self, stage: Stage) -> dict[str, Any]:
        """States by key, as the stage's changelog has them."""
        decoder = msgspec.msgpack.Decoder(Row[stage.state])  # type: ignore[name-defined]
        changelog = latest(self.settings.kafka(), f"{stage.group}-rows-changelog")
        states = {
            key[1:]: decoder.decode(stored.value).state
            for key, stored in changelog.items()
            if key.startswith("r") and stored.value is not None
        }
        return {key: state for key, state in states.items() if state is not None}
