"""Segment's own Kotlin client, the core of its Android one, pointed at the gateway."""

import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline.model import topics
from pipeline.model.interaction import Interaction
from tests.support.stack import Stack, eventually

_FOLDER = Path(__file__).parents[1] / "segment-kotlin"
_CLASSPATH = _FOLDER / "target" / "classpath.txt"
_KINDS = ["alias", "group", "identify", "screen", "track"]

pytestmark = [
    pytest.mark.skipif(shutil.which("javac") is None, reason="there is no JDK here"),
    pytest.mark.skipif(
        not _CLASSPATH.exists(),
        reason="`mvn -f tests/segment-kotlin dependency:build-classpath` was not run",
    ),
]


def test_every_kind_of_message_arrives_once(stack: Stack) -> None:
    customer_id = f"c-{uuid4().hex[:12]}"
    classpath = _CLASSPATH.read_text().strip()
    host = stack.url.removeprefix("http://")
    command = [
        "java",
        "-cp",
        classpath,
        str(_FOLDER / "Send.java"),
        host,
        "test-app-key",
        customer_id,
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, (result.stdout, result.stderr)

    def find_interactions() -> list[Interaction]:
        records = stack.records.read_all(topics.INTERACTIONS, Interaction)
        return [
            interaction
            for _, interaction in records
            if any(customer_id in i.value for i in interaction.identifiers)
        ]

    eventually(lambda: len(find_interactions()) >= len(_KINDS), 20.0)
    assert sorted(message.kind for message in find_interactions()) == _KINDS
    [view] = [message for message in find_interactions() if message.name == "Viewed"]
    assert view.properties["total"] == 9.5
