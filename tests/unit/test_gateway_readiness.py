"""Readiness probes: which records they write, and where."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from pipeline.adapters.kafka import OutgoingRecord
from pipeline.config import model
from pipeline.flow import Flow
from pipeline.gateway import readiness
from pipeline.home.topics import TOPICS
from pipeline.model import topics
from pipeline.model.decision import Reply
from pipeline.model.identity import IdentityChange
from tests.support.doorway import Doorway, configuration, doorway
from tests.support.worlds import plain_rules


@pytest.fixture
def door(tmp_path: Path) -> Doorway:
    return doorway(configuration(model.Source("shop", "web", "server-key-1")), tmp_path)


async def request_readiness(door: Doorway, count: int) -> list[httpx.Response]:
    async with door.client() as client:
        return await asyncio.gather(*(client.get("/readyz") for _ in range(count)))


def answer_probes(door: Doorway) -> None:
    """Let the four stages reply to each published probe."""
    flow = Flow(plain_rules())

    def reply_to_probes(records: Sequence[OutgoingRecord]) -> None:
        for record in records:
            probe = door.codec.decode(record.topic, record.value or b"")
            assert isinstance(probe, IdentityChange)
            values = [emit.value for emit in flow.run(probe)]
            door.pending_replies.deliver([reply for reply in values if isinstance(reply, Reply)])

    door.log.on_publish = reply_to_probes


def test_many_readiness_requests_cause_one_probe_a_partition(door: Doorway) -> None:
    answer_probes(door)
    answers = asyncio.run(request_readiness(door, 50))
    assert {answer.status_code for answer in answers} == {200}
    assert len(door.log.records) == 2


def test_probes_are_in_a_topic_of_short_retention(
    door: Doorway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_WAIT_MS", 50)
    [answer] = asyncio.run(request_readiness(door, 1))
    assert answer.status_code == 503
    assert len(answer.json()["missing"]) == 2
    assert door.log.topics() == {topics.PROBES}
    [retention_h] = [topic.retention_h for topic in TOPICS if topic.name == topics.PROBES]
    assert retention_h == 1
