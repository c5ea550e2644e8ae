"""An enrichment stage whose timers let people enter a segment, and the log of its inputs."""

from collections.abc import Iterator
from functools import cache
from typing import Final

from agents.metrics import StageMetrics
from agents.ports import Message
from agents.stage import StageShell
from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.config import model
from pipeline.flow import stage
from pipeline.model import topics
from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import Ok
from pipeline.model.profile import SegmentChange
from pipeline.model.records import control_of
from pipeline.model.stages import Enriched, Identified, IdentitySection
from pipeline.rules import Rules
from pipeline.segmentation.state import MembershipState
from pipeline.segmentation.step import step as segment
from tests.support.shells import (
    ONLY_PARTITION,
    InMemoryPorts,
    SentRecord,
    finish,
    rulebook_of,
    shared_cache,
)
from tests.support.worlds import rules

START_MS: Final = 1_900_000_000_000
WAIT_MS: Final = 60_000
"""Time from an interaction to the entry into the segment."""

_CODEC: Final = Codec(recorded_versions())


@cache
def waiting_rules() -> Rules:
    """Return rules by which a customer enters a segment some time after an interaction."""
    segment = model.Segment("left", {"trait": "came", "older_than": f"{WAIT_MS}ms"})
    return rules(
        model.Bundle(
            sources=model.Sources((model.Source("shop", "web", "write-key-1"),)),
            identity=model.Identity((model.Namespace("email"),)),
            channels=model.Channels((model.Channel("web"),)),
            profile=model.ProfileRules((model.TraitDefinition("came", "max", of="occurred_at"),)),
            segments=(segment,),
        )
    )


class TimerStage:
    """One partition of the stage. `log`: its inputs; `firings`: key and due time (ms) of the timers
    among them; `entries`: profiles that enter the segment by the stage's outputs, once for each
    entry."""

    def __init__(self) -> None:
        self.stage = stage("enrichment")
        self.ports = InMemoryPorts()
        self.log: list[SentRecord] = []
        self.firings: list[tuple[str, int]] = []
        self.entries: list[str] = []
        self._next = 0
        self._members: dict[str, MembershipState | None] = {}
        self.start()

    def start(self) -> None:
        """Start the process, with its rows as they were left."""
        cache = shared_cache(_CODEC)
        metrics = StageMetrics(self.stage.name)
        self._shell = StageShell(
            self.stage, self.ports, cache, rulebook_of(waiting_rules()), metrics
        )

    def on_assignment(self) -> None:
        """Assign the partition once more, as after a rebalance."""
        self._shell.on_assignment()

    def write_input(self, address: str, at_ms: int) -> None:
        """Write an input of a person at `at_ms`."""
        name = Identifier("email", address)
        profile = profile_id(name)
        digest = waiting_rules().config.digest
        record = Identified(
            interaction=Interaction(
                f"{address}-{at_ms}", "track", "Cart", "web", "shop", at_ms, at_ms, (name,)
            ),
            identity=IdentitySection(profile, name.key, f"{name.key}/0", 0, digest),
        )
        value = _CODEC.encode(topics.IDENTIFIED, record)
        self.log.append(SentRecord(topics.IDENTIFIED, profile.encode(), value, ()))

    def fire_due_timers(self, now_ms: int) -> int:
        """Fire due timers as the stage's agent does; return how many fired."""
        if self.may_have_due_timers(now_ms):
            self._shell.fire_due_timers(now_ms)
        timers = [record for record in self._take_outputs() if record.topic == topics.IDENTIFIED]
        self.log.extend(timers)
        self.firings.extend(map(_timer, timers))
        return len(timers)

    def may_have_due_timers(self, now_ms: int) -> bool:
        """Return whether timers may be due, for which the agent reads the watermark."""
        return self._shell.may_have_due_timers(now_ms)

    @property
    def timers(self) -> list[bytes]:
        """Keys of the rows of armed timers, in the order of their due times."""
        return sorted(key for key in self.ports.rows if key[:2] == b"tw")

    def armed_timers(self) -> set[tuple[str, int]]:
        """Return key and due time (ms) of the armed timers, as in `firings`."""
        return {(row[10:].decode(), int.from_bytes(row[2:10])) for row in self.timers}

    @property
    def unprocessed_count(self) -> int:
        return len(self.log) - self._next

    @property
    def next_is_timer(self) -> bool:
        """Whether the next input is a timer."""
        return bool(self.unprocessed_count) and _is_timer(self.log[self._next])

    def process(self, count: int) -> None:
        """Process the next `count` inputs, or all where there are fewer."""
        for _ in range(min(count, self.unprocessed_count)):
            input_record = self.log[self._next]
            offset, self._next = self._next, self._next + 1
            message = Message(
                topics.IDENTIFIED,
                ONLY_PARTITION,
                offset,
                START_MS,
                input_record.key,
                input_record.value,
                input_record.headers,
            )
            finish(self._shell.handle(message))
            self.entries.extend(
                profile
                for record in self._take_outputs()
                for profile in self._run_segmentation(record)
            )

    def drop_inputs(self, count: int) -> None:
        """Drop the next `count` inputs."""
        self._next += min(count, self.unprocessed_count)

    def _run_segmentation(self, output: SentRecord) -> Iterator[str]:
        """Run segmentation on an output of the stage; yield the profiles that enter the segment."""
        if output.topic != topics.ENRICHED or output.value is None or output.key is None:
            return
        key, record = output.key.decode(), _CODEC.decode(output.topic, output.value)
        assert isinstance(record, Enriched)
        outcome = segment(key, record, self._members.get(key), waiting_rules())
        assert isinstance(outcome, Ok)
        self._members[key] = outcome.state
        for emit in outcome.emits:
            if isinstance(emit.value, SegmentChange) and emit.value.change == "entered":
                yield emit.value.profile_id

    def _take_outputs(self) -> list[SentRecord]:
        records, self.ports.outputs = self.ports.outputs, []
        return records


def _is_timer(record: SentRecord) -> bool:
    return (
        record.value is not None
        and control_of(_CODEC.decode(record.topic, record.value)) is not None
    )


def _timer(record: SentRecord) -> tuple[str, int]:
    assert record.value is not None
    control = control_of(_CODEC.decode(record.topic, record.value))
    assert control is not None
    assert control.due_at is not None
    return control.cause, control.due_at
