"""Segment's own Node client, pointed at the gateway."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.interaction import Interaction
from tests.support.stack import Stack, eventually, stopped

_FOLDER = Path(__file__).parents[1] / "segment-node"
_KINDS = ("alias", "group", "identify", "page", "screen", "track")
_PATIENCE_S = 90

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node.js here"),
    pytest.mark.skipif(
        not (_FOLDER / "node_modules").exists(),
        reason="`npm ci --prefix tests/segment-node` was not run",
    ),
]


@pytest.fixture
def customer_id() -> str:
    return f"c-{uuid4().hex[:12]}"


@contextmanager
def running_client(stack: Stack, customer_id: str) -> Iterator[None]:
    """Run Segment's client, which sends one message of each kind and has succeeded after the
    block."""
    command = ["node", str(_FOLDER / "send.mjs"), stack.url, "test-app-key", customer_id]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as client:
        yield
        _, errors = client.communicate(timeout=_PATIENCE_S)
    assert client.returncode == 0, errors


def _find_interactions(stack: Stack, customer_id: str) -> list[Interaction]:
    records = stack.records.read_all(topics.INTERACTIONS, Interaction)
    return [
        interaction
        for _, interaction in records
        if any(i.value == customer_id for i in interaction.identifiers)
    ]


def test_every_kind_of_message_arrives(stack: Stack, customer_id: str) -> None:
    with running_client(stack, customer_id):
        pass
    assert sorted(
        interaction.kind for interaction in _find_interactions(stack, customer_id)
    ) == sorted(_KINDS)


def test_messages_refused_by_kafka_are_sent_again_and_count_once(
    stack: Stack, customer_id: str
) -> None:
    accepted_counts, refused_count = stack.count_accepted(*_KINDS), stack.count_turned_away()
    with running_client(stack, customer_id), stopped(stack.broker()):
        eventually(lambda: stack.count_turned_away() > refused_count)
    assert stack.count_accepted(*_KINDS) == [count + 1 for count in accepted_counts]
    stack.wait_until_idle()
    sent_ids = {interaction.event_id for interaction in _find_interactions(stack, customer_id)}
    decided_ids = (
        record.event_id for _, record in stack.records.read_all(topics.DECISIONS, Decision)
    )
    assert sorted(event_id for event_id in decided_ids if event_id in sent_ids) == sorted(sent_ids)
    assert len(sent_ids) == len(_KINDS)
