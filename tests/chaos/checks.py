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
from tests.chaos.evidence import TopicEvidence
from tests.chaos.oracle import ExpectedMessages, ExpectedPerson, expected_messages, people, replay

_EXAMPLES = 3
_UNCOUNTED_CAMPAIGNS = frozenset(("coupon", "gift", "hint", "prize"))
"""Campaigns whose messages a count of interactions does not determine: `spending_checks.py`."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Traffic under faults and its result. `posts`: number of posts of each message, by event id;
    `accepted_ids`: messages that the gateway accepted; `delivered_ids`: actions that reached their
    customers; `altered_ids`: actions that were delivered again with another message; `roll_call`:
    messages accepted after all faults, at least one for each of the `partitions`;
    `excused_copies`: copies that a stopped process had sent in whole or in part; `fenced`: whether
    the broker lost its session with its controller, as when the machine stands still."""

    evidence: TopicEvidence
    posts: Mapping[str, int]
    accepted_ids: Set[str]
    delivered_ids: Set[str]
    altered_ids: Set[str]
    roll_call: Set[str]
    partitions: int
    excused_copies: Set[tuple[str, str]] = frozenset()
    fenced: bool = False


Check: TypeAlias = Callable[[Trial], list[str]]


def check_accepted_messages(trial: Trial) -> list[str]:
    """Check that `interactions` has every message that got a 2xx."""
    return list_examples(
        "accepted and gone", trial.accepted_ids - trial.evidence.first_interactions.keys()
    )


def check_records_per_post(trial: Trial) -> list[str]:
    """Check that `interactions` has no more records of a message than its sender has posted.

    A fenced broker is excepted: librdkafka then writes stored batches again, under the next epoch
    of its producer id.
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
            for name, posts in trial.posts.items()
            if counts[name] > posts
        ),
    )


def check_stage_outputs(trial: Trial) -> list[str]:
    """Check that no stage wrote a second record of an interaction, except excused copies."""
    return list_examples("written again", copies(trial.evidence) - trial.excused_copies)


def copies(evidence: TopicEvidence) -> set[tuple[str, str]]:
    """Return topic and interaction of the records that a stage has written more than once."""
    return {
        (topic, name)
        for topic, counts in evidence.count_records()
        for name, count in counts.items()
        if count > 1
    }


def check_processing(trial: Trial) -> list[str]:
    """Check that each record of `interactions` is decided or a dead letter."""
    evidence = trial.evidence
    decision_ids = {decision.event_id for _, decision in evidence.decisions}
    dead_places = _dead_places(evidence)
    lost_places = [
        f"{entry.partition}-{entry.offset}"
        for entry, interaction in evidence.interactions
        if _place(entry) not in dead_places
        and (interaction is None or interaction.event_id not in decision_ids)
    ]
    return list_examples("neither decided nor a dead letter", lost_places)


def check_inner_dead_letters(trial: Trial) -> list[str]:
    """Check that only records of `interactions` are dead letters: stages read each other's
    records."""
    return list_examples(
        "dead letter between stages",
        (
            f"{letter.topic} {letter.reason}: {letter.detail}"
            for letter in trial.evidence.dead_letters
            if letter.topic != topics.INTERACTIONS
        ),
    )


def check_accepted_dead_letters(trial: Trial) -> list[str]:
    """Check that no stage refuses what the gateway accepted, and no step fails."""
    dead_places = _dead_places(trial.evidence)
    return [
        *list_examples(
            "accepted and a dead letter",
            (
                interaction.event_id
                for entry, interaction in trial.evidence.interactions
                if interaction
                and interaction.event_id in trial.accepted_ids
                and _place(entry) in dead_places
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


def check_decisions(trial: Trial) -> list[str]:
    """Check that all decisions of an interaction are copies of one."""
    records_by_event = defaultdict(set)
    for entry, decision in trial.evidence.decisions:
        records_by_event[decision.event_id].add((entry.key, entry.value))
    return list_examples(
        "decided differently",
        (name for name, records in records_by_event.items() if len(records) > 1),
    )


def check_profiles(trial: Trial) -> list[str]:
    """Compare identifiers, traits and metrics of profiles with a count of interactions."""
    expected = _expected_people(trial)
    people = {
        profile.root: ExpectedPerson(
            frozenset(profile.identifiers),
            int(str(profile.traits["interactions"])),
            int(str(profile.traits.get("orders", 0))),
            float(str(profile.traits.get("spent", 0))),
            None if (page := profile.traits.get("last_page")) is None else str(page),
        )
        for profile in trial.evidence.profiles.values()
    }
    return differences("profile", expected, people)


def check_memberships(trial: Trial) -> list[str]:
    """Compare memberships with those that a count of interactions gives."""
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


def check_states(trial: Trial) -> list[str]:
    """Compare states in the changelogs, except identity's, with those of the steps that one thread
    runs over the stages' inputs."""
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


def check_contact_histories(trial: Trial) -> list[str]:
    """Compare contact histories with a count of interactions; delivered messages are committed."""
    expected = {
        profile_id(Identifier.parse(root)): messages
        for root, messages in expected_messages(_processed_interactions(trial)).items()
    }
    contacts = {
        key: [contact for part in state.shards.here.values() for contact in part.contacts]
        for key, state in trial.evidence.states(stage("decisioning")).items()
    }
    causes = {action.action_id: action.event_id for action in trial.evidence.actions}
    sent_ids = _sent_ids(trial)
    return list_examples(
        "contact history wrong",
        (
            f"{key}: {problem}"
            for key in sorted(expected.keys() | contacts.keys())
            for problem in _contact_problems(
                expected.get(key, ExpectedMessages()), contacts.get(key, []), causes, sent_ids
            )
        ),
    )


def _contact_problems(
    expected: ExpectedMessages,
    contacts: list[Contact],
    causes: Mapping[str, str],
    sent_ids: Set[str],
) -> Iterator[str]:
    causes_by_kind: defaultdict[str, list[str]] = defaultdict(list)
    for contact in contacts:
        if contact.campaign not in _UNCOUNTED_CAMPAIGNS:
            causes_by_kind[contact.offer].append(causes.get(contact.action_id, "nothing"))
        if (contact.status == "committed") != (contact.action_id in sent_ids):
            yield f"{contact.action_id} is {contact.status}"
    thanks, tips = tuple(sorted(causes_by_kind.pop("thanks", []))), causes_by_kind.pop("tip", [])
    if thanks != expected.thanks:
        yield f"thanks for {thanks} instead of {expected.thanks}"
    if len(tips) != expected.tip_count or not expected.views.issuperset(tips):
        yield f"tips for {tips} instead of {expected.tip_count}"
    reminders, (minimum, maximum) = len(causes_by_kind.pop("reminder", [])), expected.reminder_range
    if not minimum <= reminders <= maximum:
        yield f"{reminders} reminders instead of {minimum} to {maximum}"
    if causes_by_kind:
        yield f"no campaign offers {sorted(causes_by_kind)}"


def check_deliveries(trial: Trial) -> list[str]:
    """Check that each action that was not cancelled reached its customer, and nothing else did."""
    causes = {
        action.action_id: (action.event_id, action.channel) for action in trial.evidence.actions
    }
    counts = Counter(causes[key] for key in trial.delivered_ids & causes.keys())
    action_ids = {action.action_id for action in trial.evidence.actions}
    adapter_channels = trial.evidence.adapter_channels
    deliverable_ids = {
        action.action_id for action in trial.evidence.actions if action.channel in adapter_channels
    }
    chosen_ids = {
        choice.action_id
        for _, decision in trial.evidence.decisions
        for choice in decision.choices
        if choice.action_id is not None
    }
    return [
        *list_examples(
            "not delivered", deliverable_ids - trial.delivered_ids - trial.evidence.cancelled_ids
        ),
        *list_examples("delivered without an action", trial.delivered_ids - deliverable_ids),
        *list_examples("decided and not written", chosen_ids - action_ids),
        *list_examples("written and not decided", action_ids - chosen_ids),
        *list_examples("a key with two messages", trial.altered_ids),
        *list_examples(
            "two messages about one thing", (name for name, n in counts.items() if n > 1)
        ),
    ]


def check_outcomes(trial: Trial) -> list[str]:
    """Check that delivered actions are reported as sent, cancelled ones as expired or
    sent, and no others."""
    expected = {key: {"expired"} for key in trial.evidence.cancelled_ids}
    expected.update((key, {"sent"}) for key in _sent_ids(trial))
    return differences("outcome", expected, trial.evidence.outcomes)


def check_order(trial: Trial) -> list[str]:
    """Check that interactions by one identifier under one key are decided in the order of arrival.

    After a merge, interactions that identity sent to the new profile at once may overtake those
    that are moved there.
    """
    evidence = trial.evidence
    last_steps: dict[tuple[str, str, str], int] = {}
    event_ids: set[str] = set()
    late_ids = []
    for entry, decision in evidence.decisions:
        interaction = evidence.first_interactions.get(decision.event_id)
        if (
            interaction is None
            or "step" not in interaction.properties
            or decision.event_id in event_ids
        ):
            continue
        event_ids.add(decision.event_id)
        first_key = evidence.first_profiles[decision.event_id]
        lane = (entry.key, first_key, interaction.identifiers[0].key)
        step = int(str(interaction.properties["step"]))
        if step < last_steps.get(lane, -1):
            late_ids.append(decision.event_id)
        last_steps[lane] = step
    return list_examples("out of order", late_ids)


def check_roll_call(trial: Trial) -> list[str]:
    """Check that messages sent after all faults are decided, in every partition."""
    evidence = trial.evidence
    answers = {decision.event_id: entry for entry, decision in evidence.decisions}
    roll_call = [
        entry
        for entry, interaction in evidence.interactions
        if interaction and interaction.event_id in trial.roll_call
    ]
    partitions = set(range(trial.partitions))
    answering_partitions = {answers[name].partition for name in trial.roll_call & answers.keys()}
    return [
        *list_examples("no answer to", trial.roll_call - answers.keys()),
        *list_examples(
            "no roll call in partition", partitions - {entry.partition for entry in roll_call}
        ),
        *list_examples("nothing decided in partition", partitions - answering_partitions),
    ]


CHECKS: tuple[Check, ...] = (
    check_accepted_messages,
    check_records_per_post,
    check_stage_outputs,
    check_processing,
    check_inner_dead_letters,
    check_accepted_dead_letters,
    check_decisions,
    check_profiles,
    check_memberships,
    check_contact_histories,
    check_states,
    check_deliveries,
    check_outcomes,
    check_order,
    check_roll_call,
)


def _expected_people(trial: Trial) -> dict[str, ExpectedPerson]:
    return people(_processed_interactions(trial))


def _processed_interactions(trial: Trial) -> Iterable[Interaction]:
    """Return each interaction that is not a dead letter, at its first place in its partition."""
    dead_places = _dead_places(trial.evidence)
    interactions: dict[str, Interaction] = {}
    for entry, interaction in trial.evidence.interactions:
        if interaction is not None and _place(entry) not in dead_places:
            interactions.setdefault(interaction.event_id, interaction)
    return interactions.values()


def _sent_ids(trial: Trial) -> set[str]:
    """Return the actions that were delivered, or cancelled and yet reported as sent."""
    reported_ids = {key for key, names in trial.evidence.outcomes.items() if "sent" in names}
    return {*trial.delivered_ids, *(trial.evidence.cancelled_ids & reported_ids)}


def _dead_places(evidence: TopicEvidence) -> set[tuple[int, int]]:
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
