"""The sent index finds a predecessor's outputs in a real topic."""

from collections.abc import Callable

import pytest
from confluent_kafka import Producer
from faust.types import TP

from agents.transport.options import TransportOptions
from agents.transport.records import NotedOffset
from agents.transport.sent_index import load_sent_index, output_digest
from pipeline.adapters.clock import now_ms

_CLOCK_LEAD_MS = 1_800_000
"""Time by which the input's timestamp is ahead; brokers refuse an hour and more."""


@pytest.mark.parametrize("kind", ["CreateTime", "LogAppendTime"])
def test_outputs_of_an_input_are_found_at_any_claimed_time(
    bootstrap: str, prefix: str, make_topic: Callable[..., str], kind: str
) -> None:
    source = make_topic("in", message_timestamp_type=kind)
    output_topic = make_topic("out", message_timestamp_type=kind)
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(source, b"an input", timestamp=now_ms() + _CLOCK_LEAD_MS)
    assert producer.flush(30) == 0
    producer.produce(output_topic, b"what followed", b"key", headers=[("cause", b"in/0 0 0")])
    assert producer.flush(30) == 0
    settings = TransportOptions(bootstrap, prefix, "0").changelog_reader_settings()
    index = load_sent_index(
        settings, "cause", [output_topic], {TP(source, 0): NotedOffset(0)}, lambda: True
    )
    assert index is not None
    assert index.digests == {output_digest(output_topic, b"key", b"in/0 0 0")}
    assert index.ends == {TP(source, 0): 1}
