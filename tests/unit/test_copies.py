"""Copies of an interaction count once, whatever times they claim; another interaction with the
same id counts too."""

from itertools import product
from typing import Final

import pytest
from msgspec.structs import replace

from agents.metrics import StageMetrics
from agents.ports import Message
from agents.stage import StageShell
from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.enrichment.cells import COMBINE
from pipeline.enrichment.state import Value
from pipeline.flow import Flow, stage
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.time import DAY_MS, GRACE_MS
from tests.support.shells import ONLY_PARTITION, InMemoryPorts, finish, rulebook_of, shared_cache
from tests.support.worlds import plain_rules

_NOW_MS: Final = 1_900_000_000_000
_CODEC: Final = Codec(recorded_versions())
_ADA: Final = Identifier("email", "ada@x")
_VIEW: Final = Interaction("e", "track", "View", "web", "shop", _NOW_MS, _NOW_MS, (_ADA,))


class _IdentityStage:
    """Identity stage, whose input other programs write."""

    def __init__(self) -> None:
        self._ports = InMemoryPorts()
        name = "identity"
        self._shell = StageShell(
            stage(name),
            self._ports,
            shared_cache(_CODEC),
            rulebook_of(plain_rules()),
            StageMetrics(name),
        )
        self._offset = 0

    def receive(self, event_id: str, claimed_ms: int, at_ms: int) -> bool:
        """Write an interaction that claims `claimed_ms` into the log at `at_ms`; return whether it
        is processed."""
        copy = replace(_VIEW, event_id=event_id, occurred_at=claimed_ms, received_at=claimed_ms)
        return topics.IDENTIFIED in self.process(copy, at_ms)

    def process(self, interaction: Interaction, at_ms: int = _NOW_MS) -> list[str]:
        """Return the topics of an interaction's outputs."""
        value = _CODEC.encode(topics.INTERACTIONS, interaction)
        key = interaction.identifiers[0].key.encode()
        offset, self._offset = self._offset, self._offset + 1
        message = Message(topics.INTERACTIONS, ONLY_PARTITION, offset, at_ms, key, value, ())
        finish(self._shell.handle(message))
        emits, self._ports.outputs = self._ports.outputs, []
        return [record.topic for record in emits]


@pytest.fixture
def identity() -> _IdentityStage:
    return _IdentityStage()


def test_copy_with_another_claimed_time_is_recognised(identity: _IdentityStage) -> None:
    assert identity.receive("e", _NOW_MS - 30 * DAY_MS, _NOW_MS)
    assert not identity.receive("e", _NOW_MS + DAY_MS, _NOW_MS + DAY_MS)


def test_copy_is_recognised_at_any_claimed_time(identity: _IdentityStage) -> None:
    long_ago_ms = _NOW_MS - 30 * DAY_MS
    assert identity.receive("e", long_ago_ms, _NOW_MS)
    for number in range(5):
        assert identity.receive(f"other-{number}", _NOW_MS, _NOW_MS)
    assert not identity.receive("e", long_ago_ms, _NOW_MS + 1)


def test_id_after_twice_the_grace_is_another_event(identity: _IdentityStage) -> None:
    assert identity.receive("e", _NOW_MS, _NOW_MS)
    assert not identity.receive("e", _NOW_MS, _NOW_MS + GRACE_MS)
    assert identity.receive("e", _NOW_MS, _NOW_MS + 2 * GRACE_MS)


@pytest.mark.parametrize(
    "other_interaction",
    [
        replace(_VIEW, source="app"),
        replace(_VIEW, identifiers=(Identifier("email", "bob@x"),)),
        replace(_VIEW, kind="page"),
        replace(_VIEW, name="Order Completed"),
    ],
    ids=["source", "customer", "kind", "name"],
)
def test_id_is_scoped_by_source_customer_kind_and_name(
    identity: _IdentityStage, other_interaction: Interaction
) -> None:
    assert topics.IDENTIFIED in identity.process(_VIEW)
    assert topics.IDENTIFIED in identity.process(other_interaction)
    assert identity.process(_VIEW) == []
    assert identity.process(other_interaction) == []


def test_id_used_again_for_other_contents_is_a_dead_letter(identity: _IdentityStage) -> None:
    cheap_view, expensive_view = (replace(_VIEW, properties={"total": total}) for total in (1, 2))
    assert topics.IDENTIFIED in identity.process(cheap_view)
    assert identity.process(expensive_view) == [topics.DEAD_LETTERS]
    assert identity.process(cheap_view) == []


@pytest.mark.parametrize("blank_id", ["", " ", "\t\n"])
def test_interaction_without_id_is_a_dead_letter_and_no_copy(
    identity: _IdentityStage, blank_id: str
) -> None:
    copy = replace(_VIEW, event_id=blank_id)
    assert identity.process(copy) == [topics.DEAD_LETTERS]
    assert identity.process(copy) == [topics.DEAD_LETTERS]


def test_outcome_counts_once_from_any_reporter(identity: _IdentityStage) -> None:
    impression = replace(_VIEW, kind="outcome", name="impression", event_id="of an action")
    assert topics.IDENTIFIED in identity.process(impression)
    assert identity.process(replace(impression, source="app", properties={"place": "top"})) == []


def test_interactions_with_one_id_and_different_sources_have_different_decisions() -> None:
    interactions = [_VIEW, replace(_VIEW, source="app"), replace(_VIEW, name="Order Completed")]
    decision_ids = [
        emit.value.decision_id
        for interaction in interactions
        for emit in Flow(plain_rules()).run(interaction)
        if isinstance(emit.value, Decision)
    ]
    assert len(set(decision_ids)) == len(interactions)


@pytest.mark.parametrize("rule", ["first", "latest"])
def test_values_of_one_id_at_one_time_do_not_depend_on_their_order(rule: str) -> None:
    combine = COMBINE[rule]
    values = [Value(value, _NOW_MS, "e") for value in ("gold", None, 2, ("a", "b"), True)]
    for value, other_value in product(values, values):
        assert combine(value, other_value) == combine(other_value, value)
