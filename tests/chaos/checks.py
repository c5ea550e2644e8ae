"""What must hold after any fault. A check returns what it found wrong, at most a few examples."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.adapters.rules import load_rules
from pipeline.config.compile import Configuration
from pipeline.flow import STAGES
from pipeline.model import topics
from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier
from pipeline.rules import Rules
from pipeline.stack.configuration import applied_configuration
from tests.chaos.evidence import Evidence
from tests.chaos.oracle import Person, people, replayed

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a time under faults: `accepted` by the gateway, `delivered` to customers;
    `altered`: posted again with another message."""

    evidence: Evidence
    accepted: Set[str]
    delivered: Set[str]
    altered: Set[str]


Check: TypeAlias = Callable[[Trial], list[str]]


def accepted_is_in_the_log(trial: Trial) -> list[str]:
    """What got a 2xx is in `interactions`."""
    return _some("accepted and gone", trial.accepted - trial.evidence.first_interactions.keys())


def everything_is_processed(trial: Trial) -> list[str]:
    """A record of `interactions` is decided or a dead letter."""
    evidence = trial.evidence
    decided = {one.event_id for _, one in evidence.decisions}
    dead = {
        (one.partition, one.offset)
        for one in evidence.dead_letters
        if one.topic == topics.INTERACTIONS
    }
    lost = [
        f"{stored.partition}-{stored.offset}"
        for stored, one in evidence.interactions
        if (stored.partition, stored.offset) not in dead
        and (one is None or one.event_id not in decided)
    ]
    return _some("neither decided nor a dead letter", lost)


def nothing_dies_later(trial: Trial) -> list[str]:
    """Only `interactions` has dead letters: the stages understand each other."""
    return _some(
        "dead letter between stages",
        (
            f"{one.topic} {one.reason}: {one.detail}"
            for one in trial.evidence.dead_letters
            if one.topic != topics.INTERACTIONS
        ),
    )


def decided_once(trial: Trial) -> list[str]:
    """All decisions of an interaction are copies of one."""
    found = defaultdict(set)
    for stored, one in trial.evidence.decisions:
        found[one.event_id].add((stored.key, stored.value))
    return _some("decided differently", (name for name, kinds in found.items() if len(kinds) > 1))


def profiles_are_right(trial: Trial) -> list[str]:
    """Who they are and what is known of them, against plain counting."""
    expected = _expected(trial)
    found = {
        one.root: Person(
            frozenset(one.identifiers),
            int(str(one.traits["interactions"])),
            int(str(one.traits.get("orders", 0))),
            float(str(one.traits.get("spent", 0))),
            None if (page := one.traits.get("last_page")) is None else str(page),
        )
        for one in trial.evidence.profiles.values()
    }
    return _differences("profile", expected, found)


def memberships_are_right(trial: Trial) -> list[str]:
    """The segments that follow from plain counting."""
    expected = {
        profile_id(Identifier.parse(root)): person.segments
        for root, person in _expected(trial).items()
    }
    found = {key: frozenset(one.segments) for key, one in trial.evidence.memberships.items()}
    return _differences("memberships", expected, {**dict.fromkeys(expected, frozenset()), **found})


def states_are_those_of_one_thread(trial: Trial) -> list[str]:
    """Profiles, memberships and contact history in the changelogs: the steps' own, run by one
    thread over the stages' inputs."""
    evidence = trial.evidence
    rules = _rules(evidence)
    return [
        problem
        for stage in STAGES[1:]
        for problem in _differences(
            stage.name, replayed(stage, evidence.inputs(stage), rules), evidence.states(stage)
        )
    ]


def delivered_what_was_decided(trial: Trial) -> list[str]:
    """Each action reached its customer, and nothing else did."""
    wanted = {one.action_id for one in trial.evidence.actions}
    chosen = {
        choice.action_id
        for _, one in trial.evidence.decisions
        for choice in one.choices
        if choice.channel == "email" and choice.action_id is not None
    }
    return [
        *_some("not delivered", wanted - trial.delivered),
        *_some("delivered and never asked for", trial.delivered - wanted),
        *_some("decided and not written", chosen - wanted),
        *_some("written and not decided", wanted - chosen),
        *_some("a key with two messages", trial.altered),
    ]


def outcomes_are_right(trial: Trial) -> list[str]:
    """What was delivered is reported as sent, and as nothing else."""
    reported: defaultdict[str, set[str]] = defaultdict(set)
    for one in trial.evidence.first_interactions.values():
        if one.kind == "outcome":
            reported[str(one.properties["action_id"])].add(one.name)
    expected = {key: {"sent"} for key in trial.delivered}
    return _differences("outcome", expected, dict(reported))


def order_is_kept(trial: Trial) -> list[str]:
    """Under one key, what came by one identifier is decided in the order in which it came.

    But what identity put under the profile itself does not wait for what follows a merge.
    """
    evidence = trial.evidence
    last: dict[tuple[str, str, str], int] = {}
    seen: set[str] = set()
    wrong = []
    for stored, one in evidence.decisions:
        interaction = evidence.first_interactions.get(one.event_id)
        if interaction is None or "step" not in interaction.properties or one.event_id in seen:
            continue
        seen.add(one.event_id)
        first_key = evidence.identified_under[one.event_id]
        lane = (stored.key, first_key, interaction.identifiers[0].key)
        step = int(str(interaction.properties["step"]))
        if step < last.get(lane, -1):
            wrong.append(one.event_id)
        last[lane] = step
    return _some("out of order", wrong)


CHECKS: tuple[Check, ...] = (
    accepted_is_in_the_log,
    everything_is_processed,
    nothing_dies_later,
    decided_once,
    profiles_are_right,
    memberships_are_right,
    states_are_those_of_one_thread,
    delivered_what_was_decided,
    outcomes_are_right,
    order_is_kept,
)


def _expected(trial: Trial) -> dict[str, Person]:
    dead = {(one.partition, one.offset) for one in trial.evidence.dead_letters}
    processed = {
        one.event_id: one
        for stored, one in reversed(trial.evidence.interactions)
        if one is not None and (stored.partition, stored.offset) not in dead
    }
    return people(processed.values())


def _rules(evidence: Evidence) -> Rules:
    config = applied_configuration(evidence.settings)
    assert isinstance(config, Configuration)
    return load_rules(config, evidence.settings)


def _differences(what: str, expected: dict[str, object], found: dict[str, object]) -> list[str]:
    keys = expected.keys() | found.keys()
    return _some(
        f"{what} wrong",
        (
            f"{key}: {found.get(key)} instead of {expected.get(key)}"
            for key in sorted(keys)
            if expected.get(key) != found.get(key)
        ),
    )


def _some(what: str, examples: Iterable[object]) -> list[str]:
    every = list(examples)
    return [f"{what}, {len(every)} in all, e.g. {', '.join(map(str, every[:_EXAMPLES]))}"] * bool(
        every
    )
