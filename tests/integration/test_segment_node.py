"""Segment's own Node client, pointed at the gateway."""

import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline.model import topics
from pipeline.model.interaction import Interaction
from tests.support.stack import Stack

_FOLDER = Path(__file__).parents[1] / "segment-node"


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node.js here")
@pytest.mark.skipif(
    not (_FOLDER / "node_modules").exists(),
    reason="`npm ci --prefix tests/segment-node` was not run",
)
def test_every_kind_of_message_arrives(stack: Stack) -> None:
    who = f"c-{uuid4().hex[:12]}"
    command = ["node", str(_FOLDER / "send.mjs"), stack.url, "test-app-key", who]
    sent = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    every = stack.records.every(topics.INTERACTIONS, Interaction)
    kinds = [one.kind for _, one in every if any(i.value == who for i in one.identifiers)]
    assert sorted(kinds) == ["alias", "group", "identify", "page", "screen", "track"]
