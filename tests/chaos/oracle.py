"""Expected result, computed by one thread from the topics.

`people` and `expected_messages` use none of Kairos's code but its record types: they group
interactions by the identifiers that occur together, and count. `replay` runs a stage's pure step
over the stage's input, record by record, without copies. A comparison with `replay` does not check
the step, but the agents around it: partitions, kills, redelivery, rows and changelogs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from dataclasses import replace as with_fields
from typing import Any

from pipeline.flow import Stage
from pipeline.model.budget import Purse
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import Ok
from pipeline.rules import Rules
from tests.chaos.evidence import Purses, Record

_RANKS = {"customer_id": 0, "email": 1, "cookie": 2}
_MAX_AGE_MS = 300_000
"""Age on arrival beyond which an interaction triggers nothing outbound."""


@dataclass(frozen=True, slots=True)
class ExpectedPerson:
    """Profile that a person should have by this folder's configuration."""

    identifiers: frozenset[str]
    interaction_count: int
    order_count: int
    order_total: float
    last_page: str | None
    is_idle: bool = field(default=False, compare=False)
    """Whether no order followed the last page view; this is in no profile."""

    @property
    def segments(self) -> frozenset[str]:
        members = {
            "buyers": self.order_count,
            "in-cart": self.last_page == "cart",
            "idle": self.is_idle,
        }
        return frozenset(name for name, is_member in members.items() if is_member)


@dataclass(frozen=True, slots=True)
class ExpectedMessages:
    """Messages that one person should get. `thanks`: confirmed orders (event ids, sorted);
    `tip_count`: number of tips, each on one of the `views`; `reminder_range`: minimum and maximum
    number of reminders."""

    thanks: tuple[str, ...] = ()
    tip_count: int = 0
    views: frozenset[str] = frozenset()
    reminder_range: tuple[int, int] = (0, 0)


@dataclass
class StageReplay:
    """State of a stage: `states` by key, and the `purses` of its partitions."""

    states: dict[str, Any] = field(default_factory=dict)
    purses: Purses = field(default_factory=dict)

    def wallet(self, partition: int) -> dict[str, Purse]:
        """Return the purses of a partition by budget."""
        return {
            name: purse
            for (purse_partition, name), purse in self.purses.items()
            if purse_partition == partition
        }


def people(interactions: Iterable[Interaction]) -> dict[str, ExpectedPerson]:
    """Return persons by their strongest identifier, from distinct interactions."""
    return {root: _person(names, history) for root, names, history in _gather(interactions)}


def expected_messages(interactions: Iterable[Interaction]) -> dict[str, ExpectedMessages]:
    """Return the messages that persons should get, by their strongest identifier; `interactions`
    in the order of each identifier."""
    return {root: _messages_of(history) for root, _, history in _gather(interactions)}


def _gather(
    interactions: Iterable[Interaction],
) -> Iterator[tuple[str, set[str], list[Interaction]]]:
    """Yield the strongest identifier, all identifiers and the history of each person. Persons share
    no identifiers here, so those that occur together are one person's."""
    histories: dict[str, list[Interaction]] = {}
    members: dict[str, set[str]] = {}
    groups_by_name: dict[str, str] = {}
    for interaction in interactions:
        names = [identifier.key for identifier in interaction.identifiers]
        groups = {groups_by_name[name] for name in names if name in groups_by_name}
        group = min(groups, default=names[0])
        for other_group in groups - {group}:
            histories[group] += histories.pop(other_group)
            members[group] |= members.pop(other_group)
        histories.setdefault(group, []).append(interaction)
        members.setdefault(group, set()).update(names)
        groups_by_name.update(dict.fromkeys(members[group], group))
    for group, history in histories.items():
        yield min(members[group], key=_strength), members[group], history


def _strength(name: str) -> tuple[int, str]:
    return _RANKS[name.partition(":")[0]], name


def _person(names: set[str], history: list[Interaction]) -> ExpectedPerson:
    orders = [interaction for interaction in history if interaction.name == "Order"]
    pages = [
        (interaction.occurred_at, interaction.event_id, str(interaction.properties["page"]))
        for interaction in history
        if "page" in interaction.properties
    ]
    return ExpectedPerson(
        frozenset(names),
        len(history),
        len(orders),
        sum(float(str(order.properties["total"])) for order in orders),
        max(pages)[2] if pages else None,
        _is_idle(history),
    )


def _is_idle(history: list[Interaction]) -> bool:
    last_view, last_order = (
        max(
            (interaction.occurred_at for interaction in history if interaction.name == name),
            default=-1,
        )
        for name in ("Viewed", "Order")
    )
    return last_view > last_order


def _messages_of(history: list[Interaction]) -> ExpectedMessages:
    """Return the messages that one person should get in a test, which is shorter than a day.

    These are thanks for each order; one tip to a buyer who views a page after an order by the same
    identifier; and one reminder to a customer with an address whose last view no order follows. Any
    other customer with an address and a view may have got a reminder before the order. What arrives
    after `_MAX_AGE_MS` triggers none of them.
    """
    fresh_interactions = [
        interaction
        for interaction in history
        if interaction.received_at - interaction.occurred_at <= _MAX_AGE_MS
    ]
    fresh_ids = {interaction.event_id for interaction in fresh_interactions}
    buyers: set[str] = set()
    tip_count = 0
    for interaction in history:
        if interaction.name == "Order":
            buyers.add(interaction.identifiers[0].key)
        elif interaction.name == "Viewed" and interaction.event_id in fresh_ids:
            tip_count = max(tip_count, int(interaction.identifiers[0].key in buyers))
    return ExpectedMessages(
        tuple(
            sorted(
                interaction.event_id
                for interaction in fresh_interactions
                if interaction.name == "Order"
            )
        ),
        tip_count,
        frozenset(
            interaction.event_id
            for interaction in fresh_interactions
            if interaction.name == "Viewed"
        ),
        _reminder_range(history, fresh_interactions),
    )


def _reminder_range(
    history: list[Interaction], fresh_interactions: list[Interaction]
) -> tuple[int, int]:
    """Return the minimum and the maximum number of reminders."""
    has_address = any(
        identifier.namespace == "email"
        for interaction in history
        for identifier in interaction.identifiers
    )
    is_possible = has_address and any(
        interaction.name == "Viewed" for interaction in fresh_interactions
    )
    return int(is_possible and _is_idle(history)), int(is_possible)


def replay(stage: Stage, inputs: Iterable[Record], rules: Rules) -> StageReplay:
    """Return the state of a stage that has processed `inputs` in order."""
    stage_replay = StageReplay()
    record_ids: set[tuple[str, str]] = set()
    for partition, key, record in inputs:
        subject = record.interaction or record.control
        record_id = (key, subject.event_id if record.interaction else subject.control_id)
        if record_id in record_ids:
            continue
        record_ids.add(record_id)
        if stage.spends and rules.config.budgets:
            rules = with_fields(rules, wallet=stage_replay.wallet(partition))
        outcome = stage.step(key, record, stage_replay.states.get(key), rules)
        if isinstance(outcome, Ok):
            stage_replay.states[key] = outcome.state
            stage_replay.purses.update(
                ((partition, budget), purse) for budget, purse in outcome.purses.items()
            )
    stage_replay.states = {
        key: state for key, state in stage_replay.states.items() if state is not None
    }
    return stage_replay
