"""The checks of the chaos tests find what they are there for, in evidence that is tampered with.

The evidence is that of an undisturbed run of the four stages over logs in memory.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import msgspec
import pytest
from msgspec.structs import replace

from agents.idempotence import Row
from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.adapters.config_files import load
from pipeline.adapters.snapshots import StoredRecord
from pipeline.config.model import Bundle
from pipeline.flow import STAGES, Stage, stage
from pipeline.model import topics
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.decision import Action, Contact, Decision
from pipeline.model.ids import outcome_id, profile_id
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.profile import Memberships, Profile
from pipeline.rules import Rules
from tests.chaos import checks
from tests.chaos.checks import CHECKS, Check, Trial
from tests.chaos.evidence import EMAIL, PUSH, Evidence
from tests.chaos.traffic import STEPS
from tests.support.killed import KilledStages, Logs, Record
from tests.support.worlds import rules

_CONFIGURATION = Path(__file__).parents[1] / "chaos" / "configuration"
_PARTITIONS = 2
_CUSTOMERS = 4
_STAYS_AWAY = 3
_START_MS = 1_900_000_000_000
_REST_MS = _START_MS + 10_000
_CODEC = Codec(recorded_versions())


@dataclass
class World:
    """Result of a run: logs, and the customers' messages."""

    logs: Logs
    delivered: set[str]
    altered: set[str] = field(default_factory=set)
    posted: dict[str, int] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    roll_call: set[str] = field(default_factory=set)

    def every(self, topic: str) -> Iterator[tuple[list[Record], int, Any]]:
        """Yield the log, the place in it, and the record there."""
        for partition in range(_PARTITIONS):
            log = self.logs.records[topic, partition]
            for place, record in enumerate(log):
                yield log, place, record.value and _CODEC.decode(topic, record.value)

    def find(self, topic: str, holds: Callable[[Any], bool]) -> tuple[list[Record], int, Any]:
        """Return the last record of `topic` for which the condition holds."""
        return [one for one in self.every(topic) if holds(one[2])][-1]

    def judge(self, check: Check) -> list[str]:
        evidence = Evidence(self._log, _CODEC, _rules())
        return check(
            Trial(
                evidence=evidence,
                posted=self.posted,
                accepted=self.accepted,
                delivered=self.delivered,
                altered=self.altered,
                roll_call=self.roll_call,
                partitions=_PARTITIONS,
            )
        )

    def _log(self, topic: str) -> Iterator[StoredRecord]:
        named = {f"{one.group}-rows-changelog": f"{one.name}-changelog" for one in STAGES}
        for partition in range(_PARTITIONS):
            for offset, one in enumerate(self.logs.records[named.get(topic, topic), partition]):
                key = (one.key or b"").decode(errors="replace")
                yield StoredRecord(key, one.value, partition, offset, offset, one.headers)


Tampering: TypeAlias = Callable[[World], None]


@cache
def _rules() -> Rules:
    bundle = load(_CONFIGURATION, {"CHAOS_RECEIVER": "http://receiver"})
    assert isinstance(bundle, Bundle)
    return rules(bundle)


@cache
def _run_undisturbed() -> World:
    logs = Logs(_PARTITIONS)
    stream = [_step(customer, step) for step in range(STEPS) for customer in range(_CUSTOMERS)]
    roll_call = [_interaction(f"roll-{n}", "Viewed", [("customer_id", f"r{n}")]) for n in range(6)]
    for one in (*stream, *roll_call):
        logs.put(one)
    stages = KilledStages(_rules(), logs, Random(0))
    stages.run(0)
    stages.fire_due_timers(_REST_MS)
    stages.run(0)
    actions = [one for topic in (EMAIL, PUSH) for _, one in logs.read(topic)]
    for one in actions:
        logs.put(_sent_outcome(one))
    stages.run(0)
    names = {one.event_id for one in (*stream, *roll_call)}
    return World(
        logs,
        delivered={one.action_id for one in actions},
        posted=dict.fromkeys(names, 1),
        accepted=names,
        roll_call={one.event_id for one in roll_call},
    )


def _step(customer: int, step: int) -> Interaction:
    """Return the interactions of one step of a customer of the traffic."""
    cookie = [("cookie", f"k{customer}")] * (step <= 2)
    known = [("customer_id", f"c{customer}"), ("email", f"{customer}@x")] * (step >= 2)
    name = "Order" if step == 2 or (step == 4 and customer != _STAYS_AWAY) else "Viewed"
    total: dict[str, Any] = {"total": 10 + customer} if name == "Order" else {}
    properties = {"page": ("home", "cart")[customer % 2], "step": step, **total}
    return _interaction(f"e{customer}-{step}", name, [*known, *cookie], properties)


def _interaction(
    event_id: str, name: str, who: list[tuple[str, str]], properties: Any = None
) -> Interaction:
    at = _START_MS + sum(map(ord, event_id))
    names = tuple(Identifier(*one) for one in who)
    return Interaction(event_id, "track", name, "web", "shop", at, at, names, properties or {})


def _sent_outcome(action: Action) -> Interaction:
    at = action.created_at + 1
    properties: dict[str, Any] = {"action_id": action.action_id}
    name = outcome_id(action.action_id, "sent")
    who = (action.identifier,)
    return Interaction(name, "outcome", "sent", "email", "adapters", at, at, who, properties)


def _forget(topic: str, holds: Callable[[Any], bool]) -> Tampering:
    def tamper(world: World) -> None:
        log, place, _ = world.find(topic, holds)
        del log[place]

    return tamper


def _write_again(topic: str, holds: Callable[[Any], bool]) -> Tampering:
    def tamper(world: World) -> None:
        log, place, _ = world.find(topic, holds)
        log.append(log[place])

    return tamper


def _alter(topic: str, holds: Callable[[Any], bool], change: Callable[[Any], Any]) -> Tampering:
    def tamper(world: World) -> None:
        log, place, record = world.find(topic, holds)
        value = _CODEC.encode(topic, change(record))
        log[place] = Record(log[place].key, value, log[place].headers)

    return tamper


def _alter_state(of: Stage, change: Callable[[Any], Any]) -> Tampering:
    """Alter the last row whose state changes by it."""
    decoder = msgspec.msgpack.Decoder(Row[of.state])  # type: ignore[name-defined]

    def tamper(world: World) -> None:
        for partition in range(_PARTITIONS):
            log = world.logs.records[f"{of.name}-changelog", partition]
            for record in reversed(log):
                if (record.key or b"")[:1] != b"r" or record.value is None:
                    continue
                row = decoder.decode(record.value)
                if row.state is not None and (state := change(row.state)) != row.state:
                    value = msgspec.msgpack.encode(replace(row, state=state))
                    log.append(Record(record.key, value))
                    return
        raise AssertionError("no state can be changed so")

    return tamper


def _contacts(change: Callable[[tuple[Contact, ...]], tuple[Contact, ...]]) -> Tampering:
    """Return the contacts of the first part of a contact history that has some."""

    def change_first(state: Any) -> Any:
        here = dict(state.shards.here)
        for shard, part in here.items():
            if change(part.contacts) != part.contacts:
                here[shard] = replace(part, contacts=change(part.contacts))
                return replace(state, shards=replace(state.shards, here=here))
        return state

    return _alter_state(stage("decisioning"), change_first)


def _of(event_id: str) -> Callable[[Any], bool]:
    """Return whether a record is about this interaction."""

    def holds(record: Any) -> bool:
        subject = getattr(record, "interaction", record)
        return subject is not None and bool(subject.event_id == event_id)

    return holds


def _swap_steps(world: World) -> None:
    log, later, _ = world.find(topics.DECISIONS, _of("e0-4"))
    other, earlier, _ = world.find(topics.DECISIONS, _of("e0-3"))
    log[later], other[earlier] = other[earlier], log[later]


def _decide_differently(world: World) -> None:
    _write_again(topics.DECISIONS, _of("e0-3"))(world)
    _alter(topics.DECISIONS, _of("e0-3"), lambda one: replace(one, choices=()))(world)


def _tell_twice(world: World) -> None:
    _write_again(EMAIL, _of("e0-2"))(world)
    _alter(EMAIL, _of("e0-2"), lambda one: replace(one, action_id="another"))(world)
    world.delivered.add("another")


def _die_later(world: World) -> None:
    _die(world, "enrichment", "no-such-kind", topics.IDENTIFIED)


def _die_accepted(world: World) -> None:
    _die(world, "identity", "no-identifier", topics.INTERACTIONS)


def _fail(world: World) -> None:
    _die(world, "decisioning", "exception", topics.SEGMENTED)


def _die(world: World, stage: str, reason: str, topic: str) -> None:
    """Replace the first record of `topic` by a dead letter."""
    letter = DeadLetterRecord(stage, reason, "", topic, 0, 0, _START_MS, key=b"k", value=None)
    value = _CODEC.encode(topics.DEAD_LETTERS, letter)
    world.logs.records[topics.DEAD_LETTERS, 0].append(Record(b"k", value))


def _deliver_nothing(world: World) -> None:
    world.delivered.pop()


def _deliver_more(world: World) -> None:
    world.delivered.add("never asked for")


def _deliver_altered(world: World) -> None:
    world.altered.add(next(iter(world.delivered)))


def _more_interactions(profile: Profile) -> Profile:
    more = int(str(profile.traits["interactions"])) + 1
    return replace(profile, traits={**profile.traits, "interactions": more})


def _without_a_shard(state: Any) -> Any:
    here = dict(list(state.shards.here.items())[1:])
    return replace(state, shards=replace(state.shards, here=here))


def _ask_one_only(world: World) -> None:
    world.roll_call = {"roll-0"}


_PERSON = profile_id(Identifier("customer_id", "c0"))


def _is_person(record: Any) -> bool:
    return bool(record is not None and record.profile_id == _PERSON)


def _stays_away(record: Any) -> bool:
    person = profile_id(Identifier("customer_id", f"c{_STAYS_AWAY}"))
    return bool(record is not None and record.profile_id == person)


def _without_idle(one: Memberships) -> Memberships:
    assert "idle" in one.segments
    return replace(one, segments={name: at for name, at in one.segments.items() if name != "idle"})


def _is_outcome(record: Any) -> bool:
    return bool(record.kind == "outcome")


def _repeat_the_first_snapshot(world: World) -> None:
    """Append the first snapshot once more, as a stopped worker might."""
    of_person = (one for one in world.every(topics.PROFILES) if _is_person(one[2]))
    log, place, _ = next(of_person)
    log.append(log[place])


TAMPERINGS: dict[str, tuple[Check, Tampering]] = {
    "an accepted interaction is gone": (
        checks.accepted_is_in_the_log,
        _forget(topics.INTERACTIONS, _of("e1-3")),
    ),
    "an interaction that was posted once is written twice": (
        checks.written_as_often_as_posted,
        _write_again(topics.INTERACTIONS, _of("e1-3")),
    ),
    **{
        f"an interaction is written twice to {topic}": (
            checks.passed_on_once,
            _write_again(topic, _of("e0-2")),
        )
        for topic in (
            topics.IDENTIFIED,
            topics.ENRICHED,
            topics.SEGMENTED,
            topics.DECISIONS,
            EMAIL,
        )
    },
    "a decision is missing": (
        checks.everything_is_processed,
        _forget(topics.DECISIONS, _of("e2-1")),
    ),
    "a stage refuses what another wrote": (checks.nothing_dies_later, _die_later),
    "an accepted interaction is a dead letter": (checks.nothing_accepted_dies, _die_accepted),
    "a step fails": (checks.nothing_accepted_dies, _fail),
    "an interaction is decided twice, each time differently": (
        checks.decided_once,
        _decide_differently,
    ),
    "a profile is off by one": (
        checks.profiles_are_right,
        _alter(topics.PROFILES, _is_person, _more_interactions),
    ),
    "the last snapshot of a profile is older than another": (
        checks.profiles_are_right,
        _repeat_the_first_snapshot,
    ),
    "a profile that was merged is still there": (
        checks.profiles_are_right,
        _forget(topics.PROFILES, lambda one: one is None),
    ),
    "a membership is wrong": (
        checks.memberships_are_right,
        _alter(topics.MEMBERSHIPS, _is_person, lambda one: replace(one, segments={})),
    ),
    "a segment is entered that nobody should": (
        checks.memberships_are_right,
        _alter(topics.MEMBERSHIPS, _is_person, lambda one: replace(one, segments={"in-cart": 1})),
    ),
    "nobody notices that time has passed": (
        checks.memberships_are_right,
        _alter(topics.MEMBERSHIPS, _stays_away, _without_idle),
    ),
    "a shard of a profile is missing": (
        checks.states_are_those_of_one_thread,
        _alter_state(stage("enrichment"), _without_a_shard),
    ),
    "a contact is forgotten": (
        checks.contact_histories_are_right,
        _contacts(lambda every: every[1:]),
    ),
    "a contact counts twice": (
        checks.contact_histories_are_right,
        _contacts(lambda every: (*every, *every[:1])),
    ),
    "who stays away is not reminded": (
        checks.contact_histories_are_right,
        _contacts(lambda every: tuple(one for one in every if one.offer != "reminder")),
    ),
    "what was delivered does not count for good": (
        checks.contact_histories_are_right,
        _contacts(lambda every: tuple(replace(one, status="reserved") for one in every)),
    ),
    "a message reaches nobody": (checks.delivered_what_was_decided, _deliver_nothing),
    "a message is delivered that nobody asked for": (
        checks.delivered_what_was_decided,
        _deliver_more,
    ),
    "a customer is told twice": (checks.delivered_what_was_decided, _tell_twice),
    "a message is delivered again, and says something else": (
        checks.delivered_what_was_decided,
        _deliver_altered,
    ),
    "an action is decided and not written": (
        checks.delivered_what_was_decided,
        _forget(EMAIL, _of("e0-2")),
    ),
    "what was delivered is not reported": (
        checks.outcomes_are_right,
        _forget(topics.INTERACTIONS, _is_outcome),
    ),
    "what was delivered is reported as lost": (
        checks.outcomes_are_right,
        _alter(topics.INTERACTIONS, _is_outcome, lambda one: replace(one, name="expired")),
    ),
    "two decisions stand in the wrong order": (checks.order_is_kept, _swap_steps),
    "somebody does not answer any more": (
        checks.everyone_answers_again,
        _forget(topics.DECISIONS, _of("roll-0")),
    ),
    "a partition is not asked": (checks.everyone_answers_again, _ask_one_only),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_check_holds_for_an_undisturbed_run(check: Check) -> None:
    assert _run_undisturbed().judge(check) == []


@pytest.mark.parametrize(("check", "tamper"), TAMPERINGS.values(), ids=TAMPERINGS)
def test_check_fails_after_tampering_with_its_evidence(check: Check, tamper: Tampering) -> None:
    world = deepcopy(_run_undisturbed())
    tamper(world)
    assert world.judge(check) != []


def test_each_check_can_fail() -> None:
    assert {check for check, _ in TAMPERINGS.values()} == set(CHECKS)


def test_undisturbed_run_has_decisions_and_actions() -> None:
    decisions: list[Decision] = [one for _, one in _run_undisturbed().logs.read(topics.DECISIONS)]
    assert len({one.event_id for one in decisions}) > _CUSTOMERS * STEPS
    assert len(_run_undisturbed().delivered) == _CUSTOMERS * 3
    assert any(
        isinstance(one, Memberships) for _, one in _run_undisturbed().logs.read("memberships")
    )
