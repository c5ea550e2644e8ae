"""Start here: the path of an interaction through the four stages.

interactions -> identity -> enrichment -> segmentation -> decisioning -> actions

Each stage is a pure step over one row of state: `step(key, record, state, rules) -> outcome`. The
agents run these steps over Kafka and RocksDB; `Flow` runs them in memory. Both write the same
records (tests/integration/test_parity.py).
"""

from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

from pipeline.decisioning.state import ContactState
from pipeline.decisioning.step import step as decide
from pipeline.enrichment.state import ProfileState
from pipeline.enrichment.step import step as enrich
from pipeline.identity.naming import REUSED_ID
from pipeline.identity.state import IdentityState
from pipeline.identity.step import step as identify
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.ids import content_digest, event_key
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import (
    DeadLetter,
    Drop,
    Emit,
    Forward,
    Ok,
    Outcome,
    Redirect,
)
from pipeline.model.records import timer_record
from pipeline.rules import Rules
from pipeline.segmentation.state import MembershipState
from pipeline.segmentation.step import step as segment


@dataclass(frozen=True, slots=True)
class Stage:
    """Stage with its topics, its step, and the type of its rows.

    `outputs`: the topics written mainly by this stage; `actions.` stands for those of all channels.
    `preceding_stage`: the stage whose records the timers of this stage must not overtake; None: its
    rows have no timers. `spends`: its step spends budgets.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    step: Callable[[str, Any, Any, Rules], Outcome[Any]]
    state: type
    preceding_stage: str | None = None
    spends: bool = False

    @property
    def group(self) -> str:
        """Name of its consumer group and of its Faust app."""
        return f"kairos.{self.name}"


STAGES = (
    Stage(
        "identity",
        (topics.INTERACTIONS, topics.IDENTITIES, topics.PROBES),
        (topics.IDENTIFIED, topics.IDENTITIES, topics.DEAD_LETTERS),
        identify,
        IdentityState,
    ),
    Stage(
        "enrichment",
        (topics.IDENTIFIED,),
        (topics.ENRICHED, topics.PROFILES, topics.DEAD_LETTERS),
        enrich,
        ProfileState,
        preceding_stage="identity",
    ),
    Stage(
        "segmentation",
        (topics.ENRICHED,),
        (topics.SEGMENTED, topics.SEGMENT_CHANGES, topics.MEMBERSHIPS, topics.DEAD_LETTERS),
        segment,
        MembershipState,
    ),
    Stage(
        "decisioning",
        (topics.SEGMENTED,),
        (
            topics.DECISIONS,
            topics.actions(""),
            topics.CANCELLATIONS,
            topics.REPLIES,
            topics.DEAD_LETTERS,
        ),
        decide,
        ContactState,
        preceding_stage="segmentation",
        spends=True,
    ),
)
"""Stages in the order in which an interaction passes through them."""


def stage(name: str) -> Stage:
    """Return the stage of this name. Raises KeyError."""
    return {definition.name: definition for definition in STAGES}[name]


def _empty_rows(_: Stage) -> MutableMapping[str, Any]:
    return {}


class Flow:
    """Four stages without Kafka, for tests, previews and replays.

    Rows are in memory, or in the mapping that `make_rows` returns for a stage. `dead_letters`:
    refused inputs so far, each with its stage.
    """

    def __init__(
        self, rules: Rules, make_rows: Callable[[Stage], MutableMapping[str, Any]] = _empty_rows
    ) -> None:
        self.rules = rules
        self.rows = {definition.name: make_rows(definition) for definition in STAGES}
        self.dead_letters: list[tuple[str, DeadLetter]] = []
        self._digests: dict[str, bytes] = {}
        self._wakes: dict[tuple[str, str], int] = {}
        self._timers: dict[str, list[tuple[int, str]]] = {
            definition.name: [] for definition in STAGES
        }

    def run(self, record: Interaction | IdentityChange) -> Iterator[Emit]:
        """Yield every record that follows from an interaction, an `unlink` or a `forget`."""
        if isinstance(record, Interaction):
            first_emit = Emit(topics.INTERACTIONS, _first_key(record), record)
        else:
            first_emit = Emit(topics.IDENTITIES, record.identifier, record)
        yield from self.follow(first_emit)

    def advance(self, now_ms: int) -> Iterator[Emit]:
        """Yield every record that follows from advancing the time to `now_ms`, stage by stage."""
        for definition in STAGES:
            while due_timer := self._take_due_timer(definition.name, now_ms):
                at, key = due_timer
                yield from self.follow(
                    timer_record(definition.inputs[0], key, at, now_ms, self.rules.config.digest)
                )

    def _take_due_timer(self, name: str, now_ms: int) -> tuple[int, str] | None:
        """Remove and return the earliest due timer of the stage `name`; None: none is due."""
        timers = self._timers[name]
        while timers and timers[0][0] <= now_ms:
            at, key = heappop(timers)
            if self._wakes.get((name, key)) == at:  # neither rearmed nor cancelled since
                return at, key
        return None

    def follow(self, first_emit: Emit) -> Iterator[Emit]:
        """Yield every record that follows from `first_emit`, a record on an input of a stage."""
        pending = deque([first_emit])
        while pending:
            for emit in self._process(pending.popleft()):
                yield emit
                if emit.topic in _STAGE_BY_INPUT:
                    pending.append(emit)

    def _process(self, emit: Emit) -> tuple[Emit, ...]:
        definition = _STAGE_BY_INPUT[emit.topic]
        record = emit.value
        if isinstance(record, Interaction) and (
            digest := self._digests.get(event_key(emit.key, record))
        ):
            if digest != content_digest(record):
                self.dead_letters.append((definition.name, REUSED_ID))
            return ()
        rows = self.rows[definition.name]
        outcome = definition.step(emit.key, record, rows.get(emit.key), self.rules)
        if isinstance(outcome, Redirect):
            return (outcome.emit,)
        if isinstance(record, Interaction) and isinstance(outcome, (Ok, Drop)):
            self._digests[event_key(emit.key, record)] = content_digest(record)
        if isinstance(outcome, DeadLetter):
            self.dead_letters.append((definition.name, outcome))
        if isinstance(outcome, Forward):
            return outcome.emits
        if not isinstance(outcome, Ok):
            return ()
        if outcome.state is None:
            rows.pop(emit.key, None)
        else:
            rows[emit.key] = outcome.state
        self._wakes.pop((definition.name, emit.key), None)
        if outcome.wake is not None:
            self._wakes[definition.name, emit.key] = outcome.wake.at
            heappush(self._timers[definition.name], (outcome.wake.at, emit.key))
        return outcome.emits


_STAGE_BY_INPUT = {topic: definition for definition in STAGES for topic in definition.inputs}


def _first_key(interaction: Interaction) -> str:
    return interaction.identifiers[0].key if interaction.identifiers else ""
