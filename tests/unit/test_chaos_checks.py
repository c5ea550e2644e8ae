"""The checks of the chaos tests find every fault that is put into the evidence.

The evidence is that of an undisturbed run of the four stages over logs in memory.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from msgspec.structs import replace

from pipeline.adapters.config_files import load
from pipeline.config.model import Bundle
from pipeline.flow import stage
from pipeline.model import topics
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.decision import Contact, Decision
from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.profile import Memberships, Profile
from pipeline.rules import Rules
from tests.chaos import checks
from tests.chaos.checks import CHECKS, Check
from tests.chaos.traffic import STEPS
from tests.support.killed import KilledStages, LoggedRecord, Logs
from tests.support.tampering import (
    CODEC,
    PARTITIONS,
    START_MS,
    CheckSuite,
    Tampering,
    World,
    alter,
    alter_state,
    delete,
    interaction,
    is_about,
    sent_outcome,
    write_again,
)
from tests.support.worlds import rules

_CONFIGURATION = Path(__file__).parents[1] / "chaos" / "configuration"
EMAIL, PUSH = topics.actions("email"), topics.actions("push")
_CUSTOMERS = 4
_ABSENT_CUSTOMER = 3
_REST_MS = START_MS + 10_000


@cache
def _rules() -> Rules:
    bundle = load(_CONFIGURATION, {"CHAOS_RECEIVER": "http://receiver"})
    assert isinstance(bundle, Bundle)
    return rules(bundle)


@cache
def _undisturbed_world() -> World:
    logs = Logs(PARTITIONS)
    stream = [_step(customer, step) for step in range(STEPS) for customer in range(_CUSTOMERS)]
    roll_call = [interaction(f"roll-{n}", "Viewed", [("customer_id", f"r{n}")]) for n in range(6)]
    for record in (*stream, *roll_call):
        logs.put(record)
    stages = KilledStages(_rules(), logs, Random(0))
    stages.run(0)
    stages.fire_due_timers(_REST_MS)
    stages.run(0)
    actions = [action for topic in (EMAIL, PUSH) for _, action in logs.read(topic)]
    for action in actions:
        logs.put(sent_outcome(action))
    stages.run(0)
    names = {record.event_id for record in (*stream, *roll_call)}
    return World(
        _rules(),
        logs,
        delivered_ids={action.action_id for action in actions},
        posts=dict.fromkeys(names, 1),
        accepted_ids=names,
        roll_call={interaction.event_id for interaction in roll_call},
    )


def _step(customer: int, step: int) -> Interaction:
    """Return the interaction of one step of a customer of the traffic."""
    cookie = [("cookie", f"k{customer}")] * (step <= 2)
    identifiers = [("customer_id", f"c{customer}"), ("email", f"{customer}@x")] * (step >= 2)
    name = "Order" if step == 2 or (step == 4 and customer != _ABSENT_CUSTOMER) else "Viewed"
    total: dict[str, Any] = {"total": 10 + customer} if name == "Order" else {}
    properties = {"page": ("home", "cart")[customer % 2], "step": step, **total}
    return interaction(f"e{customer}-{step}", name, [*identifiers, *cookie], properties)


def _alter_contacts(change: Callable[[tuple[Contact, ...]], tuple[Contact, ...]]) -> Tampering:
    """Return a change of the contacts of the first part of a contact history that it affects."""

    def change_first(state: Any) -> Any:
        parts_here = dict(state.shards.here)
        for shard, part in parts_here.items():
            if change(part.contacts) != part.contacts:
                parts_here[shard] = replace(part, contacts=change(part.contacts))
                return replace(state, shards=replace(state.shards, here=parts_here))
        return state

    return alter_state(stage("decisioning"), change_first)


def _swap_steps(world: World) -> None:
    log, later_index, _ = world.find(topics.DECISIONS, is_about("e0-4"))
    other_log, earlier_index, _ = world.find(topics.DECISIONS, is_about("e0-3"))
    log[later_index], other_log[earlier_index] = other_log[earlier_index], log[later_index]


def _decide_differently(world: World) -> None:
    write_again(topics.DECISIONS, is_about("e0-3"))(world)
    alter(topics.DECISIONS, is_about("e0-3"), lambda decision: replace(decision, choices=()))(world)


def _send_another_message(world: World) -> None:
    write_again(EMAIL, is_about("e0-2"))(world)
    alter(EMAIL, is_about("e0-2"), lambda action: replace(action, action_id="another"))(world)
    world.delivered_ids.add("another")


def _refuse_stage_output(world: World) -> None:
    _put_dead_letter(world, "enrichment", "no-such-kind", topics.IDENTIFIED)


def _refuse_accepted_interaction(world: World) -> None:
    _put_dead_letter(world, "identity", "no-identifier", topics.INTERACTIONS)


def _fail_step(world: World) -> None:
    _put_dead_letter(world, "decisioning", "exception", topics.SEGMENTED)


def _put_dead_letter(world: World, stage: str, reason: str, topic: str) -> None:
    """Add a dead letter for the first record of `topic`."""
    letter = DeadLetterRecord(stage, reason, "", topic, 0, 0, START_MS, key=b"k", value=None)
    value = CODEC.encode(topics.DEAD_LETTERS, letter)
    world.logs.records[topics.DEAD_LETTERS, 0].append(LoggedRecord(b"k", value))


def _deliver_nothing(world: World) -> None:
    world.delivered_ids.pop()


def _deliver_unknown_action(world: World) -> None:
    world.delivered_ids.add("of no action")


def _alter_delivery(world: World) -> None:
    world.altered_ids.add(next(iter(world.delivered_ids)))


def _count_one_more(profile: Profile) -> Profile:
    count = int(str(profile.traits["interactions"])) + 1
    return replace(profile, traits={**profile.traits, "interactions": count})


def _remove_shard(state: Any) -> Any:
    parts_here = dict(list(state.shards.here.items())[1:])
    return replace(state, shards=replace(state.shards, here=parts_here))


def _shrink_roll_call(world: World) -> None:
    world.roll_call = {"roll-0"}


_PERSON = profile_id(Identifier("customer_id", "c0"))


def _is_person(record: Any) -> bool:
    return bool(record is not None and record.profile_id == _PERSON)


def _is_of_absent_customer(record: Any) -> bool:
    person = profile_id(Identifier("customer_id", f"c{_ABSENT_CUSTOMER}"))
    return bool(record is not None and record.profile_id == person)


def _remove_idle_segment(memberships: Memberships) -> Memberships:
    assert "idle" in memberships.segments
    return replace(
        memberships,
        segments={name: at for name, at in memberships.segments.items() if name != "idle"},
    )


def _is_outcome(record: Any) -> bool:
    return bool(record.kind == "outcome")


def _repeat_the_first_snapshot(world: World) -> None:
    """Append the first snapshot once more, as a stopped worker might."""
    entries = (entry for entry in world.entries(topics.PROFILES) if _is_person(entry[2]))
    log, index, _ = next(entries)
    log.append(log[index])


TAMPERINGS: dict[str, tuple[Check, Tampering]] = {
    "an accepted interaction is gone": (
        checks.check_accepted_messages,
        delete(topics.INTERACTIONS, is_about("e1-3")),
    ),
    "an interaction that was posted once is written twice": (
        checks.check_records_per_post,
        write_again(topics.INTERACTIONS, is_about("e1-3")),
    ),
    **{
        f"an interaction is written twice to {topic}": (
            checks.check_stage_outputs,
            write_again(topic, is_about("e0-2")),
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
        checks.check_processing,
        delete(topics.DECISIONS, is_about("e2-1")),
    ),
    "a stage refuses what another wrote": (checks.check_inner_dead_letters, _refuse_stage_output),
    "an accepted interaction is a dead letter": (
        checks.check_accepted_dead_letters,
        _refuse_accepted_interaction,
    ),
    "a step fails": (checks.check_accepted_dead_letters, _fail_step),
    "an interaction is decided twice, each time differently": (
        checks.check_decisions,
        _decide_differently,
    ),
    "a profile is off by one": (
        checks.check_profiles,
        alter(topics.PROFILES, _is_person, _count_one_more),
    ),
    "the last snapshot of a profile is older than another": (
        checks.check_profiles,
        _repeat_the_first_snapshot,
    ),
    "a profile that was merged is still there": (
        checks.check_profiles,
        delete(topics.PROFILES, lambda profile: profile is None),
    ),
    "a membership is wrong": (
        checks.check_memberships,
        alter(
            topics.MEMBERSHIPS, _is_person, lambda memberships: replace(memberships, segments={})
        ),
    ),
    "a profile is in a segment that it should not enter": (
        checks.check_memberships,
        alter(
            topics.MEMBERSHIPS,
            _is_person,
            lambda memberships: replace(memberships, segments={"in-cart": 1}),
        ),
    ),
    "a change that time causes is missing": (
        checks.check_memberships,
        alter(topics.MEMBERSHIPS, _is_of_absent_customer, _remove_idle_segment),
    ),
    "a shard of a profile is missing": (
        checks.check_states,
        alter_state(stage("enrichment"), _remove_shard),
    ),
    "a contact is missing": (
        checks.check_contact_histories,
        _alter_contacts(lambda contacts: contacts[1:]),
    ),
    "a contact counts twice": (
        checks.check_contact_histories,
        _alter_contacts(lambda contacts: (*contacts, *contacts[:1])),
    ),
    "an absent customer is not reminded": (
        checks.check_contact_histories,
        _alter_contacts(
            lambda contacts: tuple(contact for contact in contacts if contact.offer != "reminder")
        ),
    ),
    "a delivered message remains reserved": (
        checks.check_contact_histories,
        _alter_contacts(
            lambda contacts: tuple(replace(contact, status="reserved") for contact in contacts)
        ),
    ),
    "a message reaches nobody": (checks.check_deliveries, _deliver_nothing),
    "a message is delivered without an action": (
        checks.check_deliveries,
        _deliver_unknown_action,
    ),
    "a customer gets a second message": (
        checks.check_deliveries,
        _send_another_message,
    ),
    "a message is delivered again with other content": (
        checks.check_deliveries,
        _alter_delivery,
    ),
    "an action is decided and not written": (
        checks.check_deliveries,
        delete(EMAIL, is_about("e0-2")),
    ),
    "a delivery is not reported": (
        checks.check_outcomes,
        delete(topics.INTERACTIONS, _is_outcome),
    ),
    "a delivery is reported as expired": (
        checks.check_outcomes,
        alter(topics.INTERACTIONS, _is_outcome, lambda outcome: replace(outcome, name="expired")),
    ),
    "two decisions are in the wrong order": (checks.check_order, _swap_steps),
    "a customer of the roll call gets no decision": (
        checks.check_roll_call,
        delete(topics.DECISIONS, is_about("roll-0")),
    ),
    "a partition is not asked": (checks.check_roll_call, _shrink_roll_call),
}


class TestStateChecks(CheckSuite):
    """Suite of the checks of delivery and state."""

    checks = CHECKS
    tamperings = TAMPERINGS

    def make_undisturbed_world(self) -> World:
        return _undisturbed_world()


def test_undisturbed_run_has_decisions_and_actions() -> None:
    decisions: list[Decision] = [
        decision for _, decision in _undisturbed_world().logs.read(topics.DECISIONS)
    ]
    assert len({decision.event_id for decision in decisions}) > _CUSTOMERS * STEPS
    assert len(_undisturbed_world().delivered_ids) == _CUSTOMERS * 3
    assert any(
        isinstance(record, Memberships)
        for _, record in _undisturbed_world().logs.read("memberships")
    )
