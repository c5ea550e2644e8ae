"""A record that a killed worker had sent is not sent again; other outputs of its input are."""

import asyncio
from pathlib import Path

import pytest

from agents.app import AppOptions, create_app
from agents.transport.sent_index import SentIndex, output_digest

_CAUSE = b"interactions/0 5 0"
_SENT = SentIndex(frozenset([output_digest("dead-letters", b"key", _CAUSE)]))


@pytest.mark.parametrize(
    ("topic", "key", "cause", "spared"),
    [
        ("dead-letters", b"key", _CAUSE, 1),
        ("interactions.identified", b"key", _CAUSE, 0),
        ("dead-letters", b"another", _CAUSE, 0),
        ("dead-letters", None, _CAUSE, 0),
        ("dead-letters", b"key", b"interactions/0 5 1", 0),
    ],
)
def test_only_the_same_topic_key_and_cause_are_the_same_record(
    tmp_path: Path, topic: str, key: bytes | None, cause: bytes, spared: int
) -> None:
    options = AppOptions("localhost:1", tmp_path, 1, cause_header="cause")
    assert asyncio.run(_suppressed_and_sent(options, topic, key, cause)) == (spared, 1 - spared)


async def _suppressed_and_sent(
    options: AppOptions, topic: str, key: bytes | None, cause: bytes
) -> tuple[int, int]:
    producer = create_app("stage", options).producer
    await producer.on_start()  # type: ignore[attr-defined]
    producer.sent_index = _SENT  # type: ignore[attr-defined]
    producer.send_raw(topic, key, b"value", headers=[("cause", cause)])  # type: ignore[attr-defined]
    return producer.suppressed_total, producer.outstanding  # type: ignore[attr-defined]
