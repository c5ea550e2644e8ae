"""Segment's own client for React Native, pointed at the gateway; the test's program stands in for
the phone."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline.model import topics
from pipeline.model.interaction import Interaction
from tests.support.stack import Stack, eventually, stopped

_FOLDER = Path(__file__).parents[1] / "segment-react-native"
_KINDS = ["alias", "group", "identify", "screen", "track"]
_PATIENCE_S = 120

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node.js here"),
    pytest.mark.skipif(
        not (_FOLDER / "node_modules").exists(),
        reason="`npm ci --prefix tests/segment-react-native` was not run",
    ),
]


@contextmanager
def _running_client(stack: Stack, customer_id: str) -> Iterator[None]:
    """Run the client, which has sent a message of each kind after the block."""
    command = ["node", str(_FOLDER / "send.cjs"), stack.url, "test-app-key", customer_id]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True) as client:
        yield
        output, _ = client.communicate(timeout=_PATIENCE_S)
    assert client.returncode == 0, output


def _find_interactions(stack: Stack, customer_id: str) -> list[Interaction]:
    records = stack.records.read_all(topics.INTERACTIONS, Interaction)
    return [
        interaction
        for _, interaction in records
        if any(customer_id in identifier.value for identifier in interaction.identifiers)
    ]


def test_every_kind_of_message_arrives(stack: Stack) -> None:
    customer_id = f"c-{uuid4().hex[:12]}"
    with _running_client(stack, customer_id):
        pass
    messages = _find_interactions(stack, customer_id)
    assert sorted(message.kind for message in messages) == _KINDS
    [view] = [message for message in messages if message.kind == "track"]
    assert (view.name, view.properties) == ("Viewed", {"total": 9.5})
    assert (view.context.locale, view.context.timezone) == ("es-ES", "Europe/Madrid")


def test_messages_that_kafka_does_not_take_are_sent_again_and_count_once(stack: Stack) -> None:
    customer_id, refused_count = f"c-{uuid4().hex[:12]}", stack.count_turned_away()
    with _running_client(stack, customer_id), stopped(stack.broker()):
        eventually(lambda: stack.count_turned_away() > refused_count)
    stack.wait_until_idle()
    messages = _find_interactions(stack, customer_id)
    assert sorted({message.event_id: message.kind for message in messages}.values()) == _KINDS
