"""Laws that hold after any fault; a check returns its findings, at most a few examples."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.adapters.snapshots import StoredRecord
from pipeline.flow import STAGES, stage
from pipeline.model import topics
from pipeline.model.decision import Contact
from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier, Interaction
from tests.chaos.evidence import Evidence
from tests.chaos.oracle import ExpectedMessages, Person, expected_messages, people, replay

_EXAMPLES = 3
_OTHERS = frozenset(("coupon", "gift", "hint", "prize"))
"""Campaigns of which plain counting does not say who is told what: `spending_checks.py`."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Traffic under faults and its result. `posted`: how often each message was, by event id;
    `accepted` by the gateway; `delivered` to customers; `altered`: delivered again with another
    message; `roll_call`: accepted after all faults, at least one for each of the `partitions`;
    `excused`: those `copies` that a stopped process had already sent, or half sent; `fenced`: the
    broker lost its session with its controller, as when the machine stands still."""

    evidence: Evidence
    posted: Mapping[str, int]
    accepted: Set[str]
    delivered: Set[str]
    altered: Set[str]
    roll_call: Set[str]
    partitions: int
    excused: Set[tuple[str, str]] = frozenset()
    fenced: bool = False


Check: TypeAlias = Callable[[Trial], list[str]]


def accepted_is_in_the_log(trial: Trial) -> list[str]:
    """Check that every message with a 2xx is in `interactions`."""
    return list_examples(
        "accepted and gone", trial.accepted - trial.evidence.first_interactions.keys()
    )


def written_as_often_as_posted(trial: Trial) -> list[str]:
    """Check that `interactions` has no more records of a message than its sender has posted.

    Unless the broker was fenced: librdkafka then writes batches again that are stored already,
    under the next epoch of its producer id.
    """
    if trial.fenced:
        return []
    counts = Counter(
        interaction.event_id
        for _, interaction in trial.evidence.interactions
        if interaction is not None
    )
    return list_examples(
        "written too often",
        (
            f"{name}: {counts[name]} records of {posts} posts"
            for name, posts in trial.posted.items()
            if counts[name] > posts
        ),
    )


def passed_on_once(trial: Trial) -> list[str]:
    """Check that no stage wrote a second record of an interaction, whatever was killed."""
    return list_examples("written again", copies(trial.evidence) - trial.excused)


def copies(evidence: Evidence) -> set[tuple[str, str]]:
    """Return topic and interaction of the records that a stage has written more than once."""
    return {
        (topic, name)
        for topic, counts in evidence.count_written()
        for name, count in counts.items()
        if count > 1
    }


def everything_is_processed(trial: Trial) -> list[str]:
    """Check that each record of `interactions` is decided or a dead letter."""
    evidence = trial.evidence
    decision_ids = {decision.event_id for _, decision in evidence.decisions}
    dead = _dead(evidence)
    lost_places = [
        f"{entry.partition}-{entry.offset}"
        for entry, interaction in evidence.interactions
        if _place(entry) not in dead
        and (interaction is None or interaction.event_id not in decision_ids)
    ]
    return list_examples("neither decided nor a dead letter", lost_places)


def nothing_dies_later(trial: Trial) -> list[str]:
    """Check that only `interactions` has dead letters: the stages understand each other."""
    return list_examples(
        "dead letter between stages",
        (
            f"{letter.topic} {letter.reason}: {letter.detail}"
            for letter in trial.evidence.dead_letters
            if letter.topic != topics.INTERACTIONS
        ),
    )


def nothing_accepted_dies(trial: Trial) -> list[str]:
    """Check that no stage refuses what the gateway accepted, and no step fails."""
    dead = _dead(trial.evidence)
    return [
        *list_examples(
            "accepted and a dead letter",
            (
                interaction.event_id
                for entry, interaction in trial.evidence.interactions
                if interaction and interaction.event_id in trial.accepted and _place(entry) in dead
            ),
        ),
        *list_examples(
            "a step failed",
            (
                letter.detail
                for letter in trial.evidence.dead_letters
                if letter.reason == "exception"
            ),
        ),
    ]


def decided_once(trial: Trial) -> list[str]:
    """Check that all decisions of an interaction are copies of one."""
    names_by_slot = defaultdict(set)
    for entry, decision in trial.evidence.decisions:
        names_by_slot[decision.event_id].add((entry.key, entry.value))
    return list_examples(
        "decided differently", (name for name, kinds in names_by_slot.items() if len(kinds) > 1)
    )


def profiles_are_right(trial: Trial) -> list[str]:
    """Compare profiles with plain counting: identifiers, traits and metrics."""
    expected = _expected_people(trial)
    people = {
        profile.root: Person(
            frozenset(profile.identifiers),
            int(str(profile.traits["interactions"])),
            int(str(profile.traits.get("orders", 0))),
            float(str(profile.traits.get("spent", 0))),
            None if (page := profile.traits.get("last_page")) is None else str(page),
        )
        for profile in trial.evidence.profiles.values()
    }
    return differences("profile", expected, people)


def memberships_are_right(trial: Trial) -> list[str]:
    """Compare segments with plain counting."""
    expected = {
        profile_id(Identifier.parse(root)): person.segments
        for root, person in _expected_people(trial).items()
    }
    memberships = {
        key: frozenset(membership.segments)
        for key, membership in trial.evidence.memberships.items()
    }
    return differences(
        "memberships", expected, {**dict.fromkeys(expected, frozenset()), **memberships}
    )


def states_are_those_of_one_thread(trial: Trial) -> list[str]:
    """Compare profiles, memberships and contact history in the changelogs with the steps' own, run
    by one thread over the stages' inputs."""
    evidence = trial.evidence
    return [
        problem
        for stage in STAGES[1:]
        for problem in differences(
            stage.name,
            replay(stage, evidence.inputs(stage), evidence.rules).states,
            evidence.states(stage),
        )
    ]


def contact_histories_are_right(trial: Trial) -> list[str]:
    """Compare contact histories with plain counting; delivered messages count for good."""
    expected = {
        profile_id(Identifier.parse(root)): messages
        for root, messages in expected_messages(_processed_interactions(trial)).items()
    }
    contacts = {
        key: [contact for part in state.shards.here.values() for contact in part.contacts]
        for key, state in trial.evidence.states(stage("decisioning")).items()
    }
    causes = {action.action_id: action.event_id for action in trial.evidence.actions}
    return list_examples(
        "contact history wrong",
        (
            f"{key}: {problem}"
            for key in sorted(expected.keys() | contacts.keys())
            for problem in _wrong_messages(
                expected.get(key, ExpectedMessages()),
                contacts.get(key, []),
                (causes, _counting_as_sent(trial)),
            )
        ),
    )


def _wrong_messages(
    expected: ExpectedMessages,
    contacts: list[Contact],
    causes_and_sent: tuple[Mapping[str, str], Set[str]],
) -> Iterator[str]:
    causes, sent_ids = causes_and_sent
    causes_by_kind: defaultdict[str, list[str]] = defaultdict(list)
    for contact in contacts:
        if contact.campaign not in _OTHERS:
            causes_by_kind[contact.offer].append(causes.get(contact.action_id, "nothing"))
        if (contact.status == "committed") != (contact.action_id in sent_ids):
            yield f"{contact.action_id} is {contact.status}"
    thanks, tips = tuple(sorted(causes_by_kind.pop("thanks", []))), causes_by_kind.pop("tip", [])
    if thanks != expected.thanks:
        yield f"thanks for {thanks} instead of {expected.thanks}"
    if len(tips) != expected.tips or not expected.views.issuperset(tips):
        yield f"tips for {tips} instead of {expected.tips}"
    reminders, (least, maximum) = len(causes_by_kind.pop("reminder", [])), expected.reminders
    if not least <= reminders <= maximum:
        yield f"{reminders} reminders instead of {least} to {maximum}"
    if causes_by_kind:
        yield f"nobody offers {sorted(causes_by_kind)}"


def delivered_what_was_decided(trial: Trial) -> list[str]:
    """Check that each action that was not cancelled reached its customer, and nothing else did."""
    causes = {
        action.action_id: (action.event_id, action.channel) for action in trial.evidence.actions
    }
    counts = Counter(causes[key] for key in trial.delivered & causes.keys())
    action_ids = {action.action_id for action in trial.evidence.actions}
    delivering = trial.evidence.delivering
    to_deliver = {
        action.action_id for action in trial.evidence.actions if action.channel in delivering
    }
    chosen_ids = {
        choice.action_id
        for _, decision in trial.evidence.decisions
        for choice in decision.choices
        if choice.action_id is not None
    }
    return [
        *list_examples("not delivered", to_deliver - trial.delivered - trial.evidence.cancelled),
        *list_examples("delivered and never asked for", trial.delivered - to_deliver),
        *list_examples("decided and not written", chosen_ids - action_ids),
        *list_examples("written and not decided", action_ids - chosen_ids),
        *list_examples("a key with two messages", trial.altered),
        *list_examples(
            "two messages about one thing", (name for name, n in counts.items() if n > 1)
        ),
    ]


def outcomes_are_right(trial: Trial) -> list[str]:
    """Check that delivered actions are reported as sent, those cancelled before as expired, and
    nothing as anything else."""
    expected = {key: {"expired"} for key in trial.evidence.cancelled}
    expected.update((key, {"sent"}) for key in _counting_as_sent(trial))
    return differences("outcome", expected, trial.evidence.outcomes)


def order_is_kept(trial: Trial) -> list[str]:
    """Check that under one key, interactions by one identifier are decided in the order of their
    arrival.

    Interactions that identity put under the profile itself do not wait for those after a merge.
    """
    evidence = trial.evidence
    last: dict[tuple[str, str, str], int] = {}
    seen_ids: set[str] = set()
    wrong = []
    for entry, decision in evidence.decisions:
        interaction = evidence.first_interactions.get(decision.event_id)
        if (
            interaction is None
            or "step" not in interaction.properties
            or decision.event_id in seen_ids
        ):
            continue
        seen_ids.add(decision.event_id)
        first_key = evidence.identified_under[decision.event_id]
        lane = (entry.key, first_key, interaction.identifiers[0].key)
        step = int(str(interaction.properties["step"]))
        if step < last.get(lane, -1):
            wrong.append(decision.event_id)
        last[lane] = step
    return list_examples("out of order", wrong)


def everyone_answers_again(trial: Trial) -> list[str]:
    """Check that messages sent after all faults are decided, in every partition."""
    evidence = trial.evidence
    answers = {decision.event_id: entry for entry, decision in evidence.decisions}
    roll_call = [
        entry
        for entry, interaction in evidence.interactions
        if interaction and interaction.event_id in trial.roll_call
    ]
    everywhere = set(range(trial.partitions))
    answering_partitions = {answers[name].partition for name in trial.roll_call & answers.keys()}
    return [
        *list_examples("no answer to", trial.roll_call - answers.keys()),
        *list_examples(
            "nothing came to partition", everywhere - {entry.partition for entry in roll_call}
        ),
        *list_examples("nothing decided in partition", everywhere - answering_partitions),
    ]


CHECKS: tuple[Check, ...] = (
    accepted_is_in_the_log,
    written_as_often_as_posted,
    passed_on_once,
    everything_is_processed,
    nothing_dies_later,
    nothing_accepted_dies,
    decided_once,
    profiles_are_right,
    memberships_are_right,
    contact_histories_are_right,
    states_are_those_of_one_thread,
    delivered_what_was_decided,
    outcomes_are_right,
    order_is_kept,
    everyone_answers_again,
)


def _expected_people(trial: Trial) -> dict[str, Person]:
    return people(_processed_interactions(trial))


def _processed_interactions(trial: Trial) -> Iterable[Interaction]:
    """Return each interaction that is no dead letter, at its first place in its partition."""
    dead = _dead(trial.evidence)
    interactions: dict[str, Interaction] = {}
    for entry, interaction in trial.evidence.interactions:
        if interaction is not None and _place(entry) not in dead:
            interactions.setdefault(interaction.event_id, interaction)
    return interactions.values()


def _counting_as_sent(trial: Trial) -> set[str]:
    """Return the actions that were delivered, or cancelled when they may have been, by report."""
    sent_keys = {key for key, names in trial.evidence.outcomes.items() if "sent" in names}
    return {*trial.delivered, *(trial.evidence.cancelled & sent_keys)}


def _dead(evidence: Evidence) -> set[tuple[int, int]]:
    """Return the places in `interactions` of records that are dead letters."""
    return {
        (letter.partition, letter.offset)
        for letter in evidence.dead_letters
        if letter.topic == topics.INTERACTIONS
    }


def _place(entry: StoredRecord) -> tuple[int, int]:
    return entry.partition, entry.offset


def differences(subject: str, expected: dict[str, object], actual: dict[str, object]) -> list[str]:
    keys = expected.keys() | actual.keys()
    return list_examples(
        f"{subject} wrong",
        (
            f"{key}: {actual.get(key)} instead of {expected.get(key)}"
            for key in sorted(keys)
            if expected.get(key) != actual.get(key)
        ),
    )


def list_examples(subject: str, examples: Iterable[object]) -> list[str]:
    findings = list(examples)
    if not findings:
        return []
    finding_list = ", ".join(map(str, findings[:_EXAMPLES]))
    return [f"{subject}, {len(findings)} in all, e.g. {finding_list}"]
