"""The four stages over partitions, with records delivered in any order that Kafka allows.

Records from one partition to another keep their order; `choose` decides everything else. Duplicates
are inputs that are put twice, as by a producer that received no acknowledgement.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from pipeline.adapters.kafka import partition_for_key
from pipeline.flow import STAGES, Stage
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.ids import event_key
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import DeadLetter, Emit, Forward, Ok, Redirect
from pipeline.rules import Rules

_CONSUMER = {topic: stage for stage in STAGES for topic in stage.inputs}
_partition_of = cache(partition_for_key)
Choose = Callable[[int], int]
"""Function that returns one of 0..n-1 for n."""


class InterleavedFlow:
    """Flow over partitions; `outputs` are all records of the stages, in order."""

    def __init__(self, rules: Rules, partitions: int, choose: Choose) -> None:
        self.rules = rules
        self.partitions = partitions
        self.choose = choose
        self.rows: dict[str, dict[str, Any]] = {stage.name: {} for stage in STAGES}
        self.outputs: list[Emit] = []
        self.dead_letters: list[tuple[str, DeadLetter]] = []
        self._queues: dict[tuple[object, ...], deque[Emit]] = {}
        self._event_keys: set[str] = set()

    def put(self, record: Interaction | IdentityChange) -> None:
        """Append an interaction or a request; those of one topic and partition keep their order."""
        if isinstance(record, Interaction):
            emit = Emit(topics.INTERACTIONS, record.identifiers[0].key, record)
        else:
            emit = Emit(topics.IDENTITIES, record.identifier, record)
        self._enqueue("outside", emit)

    def give(self, source: object, emits: Iterable[Emit]) -> None:
        """Append records of `source` to the stages' inputs, in order."""
        for emit in emits:
            self._enqueue(source, emit)

    def rules_for(self, record: object, partition: int) -> Rules:
        """Return the rules that the record's stage runs by in that partition."""
        return self.rules

    def drain(self) -> None:
        """Process until nothing is left."""
        while self.step():
            pass

    def step(self) -> bool:
        """Process the head of some queue; return False if all are empty."""
        names = [name for name, queue in self._queues.items() if queue]
        if not names:
            return False
        name = names[self.choose(len(names))]
        emit = self._queues[name].popleft()
        self._process(_CONSUMER[emit.topic], emit)
        return True

    def partition(self, key: str) -> int:
        return _partition_of(key, self.partitions)

    def _process(self, stage: Stage, emit: Emit) -> None:
        record = emit.value
        if isinstance(record, Interaction) and event_key(emit.key, record) in self._event_keys:
            return
        rows = self.rows[stage.name]
        rules = self.rules_for(record, self.partition(emit.key))
        outcome = stage.step(emit.key, record, rows.get(emit.key), rules)
        emits: Sequence[Emit] = ()
        match outcome:
            case Ok(state, emits):
                if state is not None:
                    rows[emit.key] = state
                else:
                    rows.pop(emit.key, None)
                if isinstance(record, Interaction):
                    self._event_keys.add(event_key(emit.key, record))
            case Forward(emits):
                pass
            case Redirect(redirection):
                emits = (redirection,)
            case DeadLetter():
                self.dead_letters.append((stage.name, outcome))
        source = (stage.name, emit.topic, self.partition(emit.key))
        for output in emits:
            self.outputs.append(output)
            if output.topic in _CONSUMER:
                self._enqueue(source, output)

    def _enqueue(self, source: object, emit: Emit) -> None:
        name = (source, emit.topic, self.partition(emit.key))
        self._queues.setdefault(name, deque()).append(emit)
