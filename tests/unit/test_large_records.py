"""Rows stay within Kafka's limit at any rate and size of inputs, and inputs beyond it are dead
letters."""

from typing import Final

import pytest
from msgspec.structs import replace

from agents.headers import onward_timing
from agents.idempotence import OutboxEntry, Output, Row, outbox_bytes
from agents.metrics import StageMetrics
from agents.ports import Message
from agents.stage import OutboxFullError, StageShell
from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.flow import stage
from pipeline.identity.record_factory import profile_of
from pipeline.model import sizes, topics
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.stages import Identified, IdentitySection
from tests.support.shells import InMemoryPorts, SentRecord, finish, rulebook_of, shared_cache
from tests.support.worlds import plain_rules

_NOW_MS: Final = 1_900_000_000_000
_ADA: Final = Identifier("email", "ada@x")
_PROFILE: Final = profile_of(_ADA.key)
_CODEC: Final = Codec(recorded_versions())


class _CommittableStage:
    """One stage, whose earlier inputs can always be committed."""

    def __init__(self, name: str) -> None:
        agent_stage = stage(name)
        self.ports = InMemoryPorts()
        self.max_row_bytes = 0
        self.total_row_bytes = 0
        self._offset = 0
        self._topic = agent_stage.inputs[0]
        self._key = (_ADA.key if name == "identity" else _PROFILE).encode()
        self._shell = StageShell(
            agent_stage,
            self.ports,
            shared_cache(_CODEC),
            rulebook_of(plain_rules()),
            StageMetrics(name),
        )

    def process(self, record: Interaction | Identified | bytes, key: str | None = None) -> None:
        value = record if isinstance(record, bytes) else _CODEC.encode(self._topic, record)
        self.ports.committable_offsets[self._topic] = self._offset
        raw_key = self._key if key is None else key.encode()
        message = Message(self._topic, 0, self._offset, _NOW_MS, raw_key, value, ())
        finish(self._shell.handle(message))
        self._offset += 1
        row = self.ports.rows.get(b"r" + self._key, b"")
        self.max_row_bytes = max(self.max_row_bytes, len(row))
        self.total_row_bytes += len(row)

    def outputs_to(self, topic: str) -> list[SentRecord]:
        return [record for record in self.ports.outputs if record.topic == topic]

    def dead_letters(self) -> list[DeadLetterRecord]:
        letters = [
            _CODEC.decode(record.topic, record.value or b"")
            for record in self.outputs_to("dead-letters")
        ]
        return [record for record in letters if isinstance(record, DeadLetterRecord)]


def _interaction(number: int, size: int) -> Interaction:
    properties = {"text": "x" * size}
    return Interaction(
        f"e{number}", "track", "View", "web", "shop", _NOW_MS, _NOW_MS, (_ADA,), dict(properties)
    )


def _identified_record(number: int, size: int) -> Identified:
    section = IdentitySection(_PROFILE, _ADA.key, f"{_ADA.key}/0", 0, plain_rules().config.digest)
    return Identified(interaction=_interaction(number, size), identity=section)


def test_several_large_inputs_of_a_key_are_not_in_its_row_at_once() -> None:
    identity = _CommittableStage("identity")
    for number in range(5):
        identity.process(_interaction(number, 400_000))
    assert len(identity.outputs_to(topics.IDENTIFIED)) == 5
    assert identity.max_row_bytes < 500_000


def test_bytes_of_rows_of_a_hot_key_do_not_grow_with_the_square_of_its_inputs() -> None:
    enrichment = _CommittableStage("enrichment")
    for number in range(400):
        enrichment.process(_identified_record(number, 2_000))
    assert len(enrichment.outputs_to(topics.ENRICHED)) == 400
    assert enrichment.total_row_bytes < 400 * 150_000


def test_largest_input_passes_and_a_larger_one_is_a_dead_letter() -> None:
    identity = _CommittableStage("identity")
    maximum = sizes.INPUT - len(_ADA.key)
    overhead = (
        len(_CODEC.encode(topics.INTERACTIONS, _interaction(0, 2_000_000)) or b"") - 2_000_000
    )
    identity.process(_interaction(0, maximum - overhead))
    identity.process(_interaction(1, maximum - overhead + 1))
    identity.process(b"x" * sizes.TOPIC)
    identity.process(_interaction(2, 1))
    assert [letter.offset for letter in identity.dead_letters()] == [1, 2]
    assert {letter.reason for letter in identity.dead_letters()} == {"too-large"}
    assert len(identity.outputs_to(topics.IDENTIFIED)) == 2


def test_key_may_be_as_long_as_its_dead_letter_can_hold() -> None:
    long_identifier = Identifier("email", "x" * sizes.KEY)
    identity = _CommittableStage("identity")
    identity.process(
        replace(_interaction(0, 1), identifiers=(long_identifier,)), long_identifier.key
    )
    [letter] = identity.dead_letters()
    assert letter.detail.startswith(f"the key has {len(long_identifier.key)} bytes")
    assert letter.key == long_identifier.key.encode()[: sizes.KEY]
    assert not identity.ports.rows


def test_input_with_too_large_an_output_is_a_dead_letter_and_changes_no_state() -> None:
    enrichment, undisturbed_stage = _CommittableStage("enrichment"), _CommittableStage("enrichment")
    enrichment.process(_identified_record(0, 6_000_000))
    [letter] = enrichment.dead_letters()
    assert (letter.reason, letter.stage, letter.offset) == ("too-large", "enrichment", 0)
    assert enrichment.max_row_bytes < sizes.RECORD
    for tested_stage in (enrichment, undisturbed_stage):
        tested_stage.process(_identified_record(1, 1))
    [output] = enrichment.outputs_to(topics.ENRICHED)
    [expected] = undisturbed_stage.outputs_to(topics.ENRICHED)
    assert output.value == expected.value


def test_dead_letters_of_a_key_are_not_in_its_row_at_once() -> None:
    enrichment = _CommittableStage("enrichment")
    for number in range(6):
        enrichment.process(_identified_record(number, 6_000_000))
    assert len(enrichment.dead_letters()) == 6
    assert enrichment.max_row_bytes < sizes.RECORD


def test_process_ends_before_a_row_is_too_large_while_nothing_is_committed() -> None:
    enrichment = _CommittableStage("enrichment")
    enrichment.process(_identified_record(0, 4_000_000))
    enrichment.ports.committable_offsets = _NoCommits()
    with pytest.raises(OutboxFullError):
        enrichment.process(_identified_record(1, 4_000_000))


def test_input_that_is_too_large_beside_a_small_one_is_a_dead_letter() -> None:
    enrichment = _CommittableStage("enrichment")
    enrichment.process(_identified_record(0, 1))
    enrichment.process(_identified_record(1, 6_000_000))
    enrichment.process(_identified_record(2, 1))
    assert [(letter.reason, letter.offset) for letter in enrichment.dead_letters()] == [
        ("too-large", 1)
    ]
    assert len(enrichment.outputs_to(topics.ENRICHED)) == 2


class _NoCommits(dict[str, int]):
    """Committable offsets of a group that is rebalancing: they do not change."""

    def __setitem__(self, topic: str, offset: int) -> None:
        return


def test_timing_header_that_grows_too_long_is_dropped() -> None:
    timing = b""
    for _ in range(100):
        timing = onward_timing([("kairos-timing", timing)], "identity", 0.1, 0.1)
        assert len(timing) < 1_100
    assert onward_timing([("kairos-timing", b"a=1/1")], "b", 2, 3) == b"a=1/1,b=2.000/3.000"


def test_outbox_bytes_are_those_of_uncommitted_inputs() -> None:
    outbox = tuple(
        OutboxEntry("in", offset, (Output("out", b"k", b"x" * size), Output("out", b"k", None)))
        for offset, size in ((3, 10), (4, 100), (5, 1_000))
    )
    row = Row[int](outbox=outbox)
    assert [outbox_bytes(row, lambda _, offset=offset: offset) for offset in (0, 4, 5, 6)] == [
        1_110,
        1_100,
        1_000,
        0,
    ]  # type: ignore[misc]
    assert outbox_bytes(Row[int](), lambda _: 0) == 0
