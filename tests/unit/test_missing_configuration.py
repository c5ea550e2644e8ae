"""An input without a known configuration is a dead letter that says which one is missing."""

import asyncio
from typing import Any

import pytest

from agents.metrics import StageMetrics
from agents.ports import Message
from agents.rulebook import Rulebook
from agents.stage import StageShell
from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.flow import stage
from pipeline.identity.record_factory import profile_of
from pipeline.model import topics
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.stages import Identified, IdentitySection
from tests.support.shells import InMemoryPorts, shared_cache
from tests.support.worlds import plain_rules

_NOW_MS = 1_900_000_000_000
_ADA = Identifier("email", "ada@x")
_CODEC = Codec(recorded_versions())
_VIEW = Interaction("e", "track", "View", "web", "shop", _NOW_MS, _NOW_MS, (_ADA,), {})
_SECTION = IdentitySection(profile_of(_ADA.key), _ADA.key, f"{_ADA.key}/0", 0, "no-such-digest")


class _NoConfigurations:
    """Log to which no configuration was applied."""

    def configuration_in_force(self) -> None:
        return None

    def get(self, digest: str) -> None:
        return None

    def catch_up(self, timeout_s: float) -> None:
        return None


@pytest.mark.parametrize(
    ("name", "record", "key", "detail"),
    [
        ("identity", _VIEW, _ADA.key, "no configuration is applied yet"),
        (
            "enrichment",
            Identified(interaction=_VIEW, identity=_SECTION),
            profile_of(_ADA.key),
            "no-such-digest was never applied",
        ),
    ],
)
def test_dead_letter_names_the_missing_configuration(
    name: str, record: Interaction | Identified, key: str, detail: str
) -> None:
    log: Any = _NoConfigurations()
    ports, rulebook = InMemoryPorts(), Rulebook(log, lambda _: plain_rules())
    agent_stage = stage(name)
    topic = agent_stage.inputs[0]
    shell = StageShell(agent_stage, ports, shared_cache(_CODEC), rulebook, StageMetrics(name))
    value = _CODEC.encode(topic, record)
    asyncio.run(shell.handle(Message(topic, 0, 0, _NOW_MS, key.encode(), value, ())))
    [output] = ports.outputs
    letter = _CODEC.decode(topics.DEAD_LETTERS, output.value or b"")
    assert isinstance(letter, DeadLetterRecord)
    assert (letter.reason, letter.detail) == ("unknown-configuration", detail)
