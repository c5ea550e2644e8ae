"""Tasks of a channel whose messages people deliver, such as calls.

A task is an action, whose state follows from its outcomes. A person who takes a task reports it as
sent, with their name: the first such outcome in the topic counts, so that no two people call the
same customer.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from pipeline.adapters.kafka import Property
from pipeline.adapters.snapshots import StoredRecord
from pipeline.adapters.topic_ranges import TopicReader
from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.decision import Action, Cancellation
from pipeline.model.interaction import Interaction

DeskResult: TypeAlias = Literal["reached", "accepted", "declined", "no-answer", "wrong-number"]
TaskState: TypeAlias = Literal["open", "taken", "done", "late", "cancelled"]

TAKEN_OUTCOME: Final = "sent"
"""Outcome of a taken task; its property `by` names the person."""

OUTCOMES: Final[Mapping[DeskResult, tuple[str, Mapping[str, str]]]] = {
    "reached": ("impression", {}),
    "accepted": ("conversion", {"goal": "call"}),
    "declined": ("dismiss", {}),
    "no-answer": ("expired", {}),
    "wrong-number": ("bounce", {"bounce": "address"}),
}
"""Outcome that each result is reported as, with the outcome's properties."""


class DeskTask(Struct, frozen=True):
    """Action for a person; `by`: the name of the person who took it, `until` (epoch ms): its
    deadline."""

    action_id: str
    state: TaskState
    by: str | None
    to: str | None
    offer: str
    script: dict[str, str]
    until: int
    token: str


def read_tasks(records: Records, channel: str, now_ms: int) -> list[DeskTask]:
    """Return the tasks of a channel, sorted by deadline, from the present content of the topics.

    Raises KafkaException; UnknownTopicError without such a channel.
    """
    kafka = records.settings.kafka()
    with TopicReader(kafka, topics.actions(channel)) as reader:
        reader.limits()
    actions = list(records.read_all(topics.actions(channel), Action))
    if not actions:
        return []
    first_ms = min(record.timestamp for record, _ in actions)
    cancelled_ids = frozenset(
        cancellation.action_id
        for _, cancellation in records.read_all(topics.CANCELLATIONS, Cancellation)
    )
    tasks = tasks_of(actions, _outcomes(records, kafka, first_ms), now_ms)
    current_tasks = (
        replace(task, state="cancelled")
        if task.state == "open" and task.action_id in cancelled_ids
        else task
        for task in tasks
    )
    return sorted(current_tasks, key=lambda task: (task.until, task.action_id))


def tasks_of(
    actions: Iterable[tuple[StoredRecord, Action]], outcomes: Iterable[Interaction], now_ms: int
) -> list[DeskTask]:
    """Return the task of each action; `outcomes` are in the order of the topic."""
    outcomes_by_action: defaultdict[str, list[Interaction]] = defaultdict(list)
    for outcome in outcomes:
        outcomes_by_action[str(outcome.properties.get("action_id"))].append(outcome)
    tasks = {
        action.action_id: _task(record, action, outcomes_by_action[action.action_id], now_ms)
        for record, action in actions
    }
    return list(tasks.values())


def _task(
    record: StoredRecord, action: Action, outcomes: Iterable[Interaction], now_ms: int
) -> DeskTask:
    until = record.timestamp + action.deadline_at - action.created_at
    state: TaskState = "open" if now_ms < until else "late"
    by: str | None = None
    for outcome in outcomes:
        if outcome.name != TAKEN_OUTCOME:
            state = "done"
        elif by is None:
            by = str(outcome.properties.get("by", ""))
            state = "done" if state == "done" else "taken"
    return DeskTask(
        action_id=action.action_id,
        state=state,
        by=by,
        to=action.address,
        offer=action.offer,
        script=action.content,
        until=until,
        token=action.token,
    )


def _outcomes(
    records: Records, kafka: Mapping[str, Property], since_ms: int
) -> Iterable[Interaction]:
    """Yield the outcomes written at `since_ms` or later."""
    with TopicReader(kafka, topics.INTERACTIONS) as reader:
        start = {partition: limits.stop for partition, limits in reader.limits().items()}
        start |= reader.offsets_since(since_ms)
    for _, interaction in records.read_all(topics.INTERACTIONS, Interaction, start=start):
        if interaction.kind == "outcome":
            yield interaction
