"""A row without state stays for an hour, to recognise copies, and until its inputs are committed,
to recognise redeliveries; it is then deleted."""

import pytest

from agents.metrics import StageMetrics
from agents.ports import Message
from agents.stage import StageShell
from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.flow import stage
from pipeline.identity.record_factory import profile_of
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.stages import Enriched, Identified, IdentitySection, ProfileSection
from pipeline.model.time import HOUR_MS
from tests.support.shells import InMemoryPorts, finish, rulebook_of, shared_cache
from tests.support.worlds import plain_rules

_NOW_MS = 1_900_000_000_000
_PROFILE = profile_of("email:ada@x")


class _InMemoryStage:
    """One stage over rows in memory."""

    def __init__(self, name: str) -> None:
        self.ports = InMemoryPorts()
        self._codec = Codec(recorded_versions())
        rulebook = rulebook_of(plain_rules())
        agent_stage = stage(name)
        [self._topic] = agent_stage.inputs
        cache = shared_cache(self._codec)
        self.shell = StageShell(
            agent_stage, self.ports, cache, rulebook, StageMetrics(agent_stage.name)
        )
        self._offset = 0

    def process(self, record: Identified | Enriched) -> None:
        value = self._codec.encode(self._topic, record)
        key = _PROFILE.encode()
        self._last_message = Message(self._topic, 0, self._offset, _NOW_MS, key, value, ())
        self._offset += 1
        self.redeliver()

    def redeliver(self) -> None:
        """Redeliver the last input, as after a kill."""
        finish(self.shell.handle(self._last_message))

    def commit(self) -> None:
        self.ports.committed_offsets[self._topic] = self._offset

    def take_outputs(self) -> list[tuple[str, bytes | None, bytes | None]]:
        """Return the outputs since the last call."""
        records, self.ports.outputs = self.ports.outputs, []
        return [(record.topic, record.key, record.value) for record in records]

    def leave_timer(self, since_ms: int) -> None:
        """Leave the timer of a row without state since `since_ms`, as a kill does before the timer
        is removed."""
        self.ports.rows[_timer_key(since_ms + HOUR_MS)] = b""

    def has_row(self) -> bool:
        return b"r" + _PROFILE.encode() in self.ports.rows


def _timer_key(at_ms: int) -> bytes:
    """Return the key of the timer row of `_PROFILE`."""
    return b"tw" + at_ms.to_bytes(8) + _PROFILE.encode()


@pytest.fixture
def enrichment() -> _InMemoryStage:
    return _InMemoryStage("enrichment")


@pytest.fixture
def segmentation() -> _InMemoryStage:
    return _InMemoryStage("segmentation")


def _identified_record() -> Identified:
    config = plain_rules().config.digest
    ada = Identifier("email", "ada@x")
    interaction = Interaction("e", "track", "View", "web", "shop", _NOW_MS, _NOW_MS, (ada,))
    return Identified(
        interaction=interaction,
        identity=IdentitySection(_PROFILE, ada.key, f"{ada.key}/0", 0, config),
    )


def _forget_record() -> Identified:
    config = plain_rules().config.digest
    return Identified(control=Control("f", "forget", _NOW_MS, "c", config))


def test_row_without_state_is_deleted_after_an_hour(enrichment: _InMemoryStage) -> None:
    enrichment.process(_identified_record())
    enrichment.process(_forget_record())
    enrichment.commit()
    enrichment.shell.fire_due_timers(_NOW_MS + HOUR_MS - 1)
    assert enrichment.has_row()
    outputs = list(enrichment.ports.outputs)
    enrichment.shell.fire_due_timers(_NOW_MS + HOUR_MS)
    assert not enrichment.ports.rows
    assert enrichment.ports.outputs == outputs


def test_row_of_a_key_that_returns_within_the_hour_stays(enrichment: _InMemoryStage) -> None:
    enrichment.process(_identified_record())
    enrichment.process(_forget_record())
    enrichment.process(_identified_record())
    enrichment.shell.fire_due_timers(_NOW_MS + 2 * HOUR_MS)
    assert enrichment.has_row()
    assert [key for key in enrichment.ports.rows if key[:1] == b"t"] == []


def test_timer_that_a_kill_has_left_does_not_shorten_the_hour(enrichment: _InMemoryStage) -> None:
    enrichment.process(_identified_record())
    enrichment.process(_forget_record())
    enrichment.commit()
    enrichment.leave_timer(_NOW_MS - 1_000)
    enrichment.shell.fire_due_timers(_NOW_MS + HOUR_MS - 1)
    assert enrichment.has_row()
    assert _timer_key(_NOW_MS - 1_000 + HOUR_MS) not in enrichment.ports.rows
    enrichment.shell.fire_due_timers(_NOW_MS + HOUR_MS)
    assert not enrichment.ports.rows


def test_row_stays_while_an_input_may_be_redelivered(segmentation: _InMemoryStage) -> None:
    identified_record, profile = _identified_record(), ProfileSection({"orders": 1})
    segmentation.process(
        Enriched(
            interaction=identified_record.interaction,
            identity=identified_record.identity,
            profile=profile,
        )
    )
    segmentation.commit()
    segmentation.take_outputs()
    segmentation.process(Enriched(control=_forget_record().control))
    records = segmentation.take_outputs()
    assert topics.SEGMENT_CHANGES in [topic for topic, _, _ in records]
    segmentation.shell.fire_due_timers(_NOW_MS + 2 * HOUR_MS)
    segmentation.redeliver()
    assert segmentation.take_outputs() == records
    segmentation.commit()
    segmentation.shell.fire_due_timers(_NOW_MS + 2 * HOUR_MS)
    assert not segmentation.ports.rows
