"""Outputs that a killed worker sent are suppressed; other outputs of the same input are sent."""

import asyncio
from pathlib import Path

import pytest

from agents.app import AppOptions, create_app
from agents.transport.sent_index import SentIndex, output_digest

_CAUSE = b"interactions/0 5 0"
_INDEX = SentIndex(frozenset([output_digest("dead-letters", b"key", _CAUSE)]))


@pytest.mark.parametrize(
    ("topic", "key", "cause", "suppressed_count"),
    [
        ("dead-letters", b"key", _CAUSE, 1),
        ("interactions.identified", b"key", _CAUSE, 0),
        ("dead-letters", b"another", _CAUSE, 0),
        ("dead-letters", None, _CAUSE, 0),
        ("dead-letters", b"key", b"interactions/0 5 1", 0),
    ],
)
def test_only_the_same_topic_key_and_cause_are_the_same_record(
    tmp_path: Path, topic: str, key: bytes | None, cause: bytes, suppressed_count: int
) -> None:
    options = AppOptions("localhost:1", tmp_path, 1, cause_header="cause")
    assert asyncio.run(_count_outputs(options, topic, key, cause)) == (
        suppressed_count,
        1 - suppressed_count,
    )


async def _count_outputs(
    options: AppOptions, topic: str, key: bytes | None, cause: bytes
) -> tuple[int, int]:
    """Return the numbers of suppressed and of sent outputs after one output."""
    producer = create_app("stage", options).producer
    await producer.on_start()  # type: ignore[attr-defined]
    producer.sent_index = _INDEX  # type: ignore[attr-defined]
    producer.send_raw(topic, key, b"value", headers=[("cause", cause)])  # type: ignore[attr-defined]
    return producer.suppressed_total, producer.outstanding_count  # type: ignore[attr-defined]
