"""Results of runs in memory, to be tampered with so that the checks of chaos find something."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeAlias

import msgspec
import pytest
from msgspec.structs import replace

from agents.idempotence import Row
from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.adapters.snapshots import StoredRecord
from pipeline.flow import STAGES, Stage
from pipeline.model.decision import Action
from pipeline.model.ids import outcome_id
from pipeline.model.interaction import Identifier, Interaction
from pipeline.rules import Rules
from tests.chaos.checks import Check, Trial
from tests.chaos.evidence import TopicEvidence
from tests.support.killed import LoggedRecord, Logs

PARTITIONS = 2
START_MS = 1_900_000_000_000
CODEC = Codec(recorded_versions())


@dataclass
class World:
    """Result of a run: logs, and the customers' messages."""

    rules: Rules
    logs: Logs
    delivered_ids: set[str]
    altered_ids: set[str] = field(default_factory=set)
    posts: dict[str, int] = field(default_factory=dict)
    accepted_ids: set[str] = field(default_factory=set)
    roll_call: set[str] = field(default_factory=set)

    def copy(self) -> "World":
        """Return a copy to tamper with."""
        parts = {field.name: deepcopy(getattr(self, field.name)) for field in fields(self)[1:]}
        return World(self.rules, **parts)

    def entries(self, topic: str) -> Iterator[tuple[list[LoggedRecord], int, Any]]:
        """Yield each record of a topic, after its log and its place in it."""
        for partition in range(PARTITIONS):
            log = self.logs.records[topic, partition]
            for index, record in enumerate(log):
                yield log, index, record.value and CODEC.decode(topic, record.value)

    def find(self, topic: str, holds: Callable[[Any], bool]) -> tuple[list[LoggedRecord], int, Any]:
        """Return the last record of `topic` for which the condition holds."""
        return [entry for entry in self.entries(topic) if holds(entry[2])][-1]

    def evidence(self) -> TopicEvidence:
        """Return the evidence that the logs hold."""
        return TopicEvidence(self._log, CODEC, self.rules)

    def judge(self, check: Check) -> list[str]:
        return check(
            Trial(
                evidence=self.evidence(),
                posts=self.posts,
                accepted_ids=self.accepted_ids,
                delivered_ids=self.delivered_ids,
                altered_ids=self.altered_ids,
                roll_call=self.roll_call,
                partitions=PARTITIONS,
            )
        )

    def _log(self, topic: str) -> Iterator[StoredRecord]:
        topics_by_name = {
            f"{stage.group}-rows-changelog": f"{stage.name}-changelog" for stage in STAGES
        }
        for partition in range(PARTITIONS):
            for offset, record in enumerate(
                self.logs.records[topics_by_name.get(topic, topic), partition]
            ):
                key = (record.key or b"").decode(errors="replace")
                yield StoredRecord(key, record.value, partition, offset, offset, record.headers)


Tampering: TypeAlias = Callable[[World], None]


class CheckSuite(ABC):
    """Tests of checks: each holds for an undisturbed run, and fails after tampering with its
    evidence. `tamperings`: by description, the check that must fail and the tampering."""

    checks: ClassVar[Sequence[Check]]
    tamperings: ClassVar[Mapping[str, tuple[Check, "Tampering"]]]

    @abstractmethod
    def make_undisturbed_world(self) -> World:
        """Return the result of a run without faults."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Generate a test per tampering, or per check."""
        names = metafunc.fixturenames
        if "tamper" in names:
            cases = list(self.tamperings.values())
            metafunc.parametrize(("check", "tamper"), cases, ids=list(self.tamperings))
        elif "check" in names:
            metafunc.parametrize("check", self.checks, ids=lambda check: check.__name__)

    def test_check_holds_for_an_undisturbed_run(self, check: Check) -> None:
        assert self.make_undisturbed_world().judge(check) == []

    def test_check_fails_after_tampering_with_its_evidence(
        self, check: Check, tamper: "Tampering"
    ) -> None:
        world = self.make_undisturbed_world().copy()
        tamper(world)
        assert world.judge(check) != []

    def test_each_check_can_fail(self) -> None:
        assert {check for check, _ in self.tamperings.values()} == set(self.checks)


def interaction(
    event_id: str, name: str, identifiers: list[tuple[str, str]], properties: Any = None
) -> Interaction:
    at = START_MS + sum(map(ord, event_id))
    names = tuple(Identifier(*identifier) for identifier in identifiers)
    return Interaction(event_id, "track", name, "web", "shop", at, at, names, properties or {})


def sent_outcome(action: Action) -> Interaction:
    at = action.created_at + 1
    properties: dict[str, Any] = {"action_id": action.action_id}
    name = outcome_id(action.action_id, "sent")
    identifiers = (action.identifier,)
    return Interaction(
        name, "outcome", "sent", "email", "adapters", at, at, identifiers, properties
    )


def delete(topic: str, condition: Callable[[Any], bool]) -> Tampering:
    def tamper(world: World) -> None:
        log, index, _ = world.find(topic, condition)
        del log[index]

    return tamper


def write_again(topic: str, condition: Callable[[Any], bool]) -> Tampering:
    def tamper(world: World) -> None:
        log, index, _ = world.find(topic, condition)
        log.append(log[index])

    return tamper


def alter(topic: str, condition: Callable[[Any], bool], change: Callable[[Any], Any]) -> Tampering:
    def tamper(world: World) -> None:
        log, index, record = world.find(topic, condition)
        value = CODEC.encode(topic, change(record))
        log[index] = LoggedRecord(log[index].key, value, log[index].headers)

    return tamper


def alter_state(of_stage: Stage, change: Callable[[Any], Any]) -> Tampering:
    """Return a tampering that alters the last row whose state `change` alters."""
    decoder = msgspec.msgpack.Decoder(Row[of_stage.state])  # type: ignore[name-defined]

    def tamper(world: World) -> None:
        for partition in range(PARTITIONS):
            log = world.logs.records[f"{of_stage.name}-changelog", partition]
            for record in reversed(log):
                if (record.key or b"")[:1] != b"r" or record.value is None:
                    continue
                row = decoder.decode(record.value)
                if row.state is not None and (state := change(row.state)) != row.state:
                    value = msgspec.msgpack.encode(replace(row, state=state))
                    log.append(LoggedRecord(record.key, value))
                    return
        raise AssertionError("`change` alters no state")

    return tamper


def is_about(event_id: str) -> Callable[[Any], bool]:
    """Return the condition that a record is that of an interaction, or follows from it."""

    def holds(record: Any) -> bool:
        subject = getattr(record, "interaction", record)
        return subject is not None and bool(subject.event_id == event_id)

    return holds
