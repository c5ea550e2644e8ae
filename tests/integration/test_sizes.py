"""Large records are not lost and stop no stage: they pass, or become dead letters that are cut
short."""

from uuid import uuid4

from confluent_kafka import Producer

from pipeline.adapters.clock import now_ms
from pipeline.home.codec import open_codec
from pipeline.model import topics
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.decision import Decision
from pipeline.model.interaction import Identifier, Interaction
from tests.support.stack import Stack

WRITE_KEY = "test-app-key"
_LARGE_PROPERTIES = {f"p{number}": "x" * 16_000 for number in range(25)}
"""Properties of 400 KB, just below the gateway's limit of a message."""

_HUGE_BYTES = 7_990_000
"""Size just below the limit of a record."""


def test_several_large_messages_of_one_visitor_pass(stack: Stack) -> None:
    visitor = uuid4().hex
    batch = [
        {
            "type": "track",
            "event": "Viewed",
            "anonymousId": visitor,
            "messageId": f"{visitor}-{number}",
            "properties": _LARGE_PROPERTIES,
        }
        for number in range(5)
    ]
    pids = _worker_pids(stack)
    with stack.client(WRITE_KEY) as client:
        answer = client.post("/v1/batch", json={"batch": batch})
        assert answer.json() == {"success": True}, answer.text
    stack.wait_until_idle()
    decided_ids = [
        record.event_id for _, record in stack.records.read_all(topics.DECISIONS, Decision)
    ]
    assert [event_id for event_id in decided_ids if visitor in event_id] == [
        message["messageId"] for message in batch
    ]
    assert _worker_pids(stack) == pids


def test_too_large_input_is_a_dead_letter_and_the_next_goes_on(stack: Stack) -> None:
    name = uuid4().hex
    key = f"customer_id:{name}"
    huge_interaction = _interaction(f"huge-{name}", name, {"text": "x" * _HUGE_BYTES})
    encode = open_codec(stack.settings).encode
    producer = Producer({**stack.settings.kafka(), "partitioner": "murmur2_random"})
    pids = _worker_pids(stack)
    for value in (
        b"x" * _HUGE_BYTES,
        encode(topics.INTERACTIONS, huge_interaction),
        encode(topics.INTERACTIONS, _interaction(f"good-{name}", name, {})),
    ):
        producer.produce(topics.INTERACTIONS, value, key, headers=[("origin", None)])
    assert producer.flush(30) == 0
    stack.wait_until_idle()
    letters = [
        letter
        for _, letter in stack.records.read_all(topics.DEAD_LETTERS, DeadLetterRecord)
        if letter.key == key.encode()
    ]
    assert [letter.reason for letter in letters] == ["too-large", "too-large"]
    for letter in letters:
        assert letter.value is not None
        assert len(letter.value) < _HUGE_BYTES
        assert f"{len(letter.value)} of" in letter.detail
        assert letter.topic == topics.INTERACTIONS
    assert letters[0].offset + 1 == letters[1].offset
    decided_ids = [
        record.event_id for _, record in stack.records.read_all(topics.DECISIONS, Decision)
    ]
    assert [event_id for event_id in decided_ids if name in event_id] == [f"good-{name}"]
    assert _worker_pids(stack) == pids


def _worker_pids(stack: Stack) -> dict[str, int]:
    """Return the pids of the workers, which differ if one had to be started again."""
    status = stack.ask("status")
    return {
        process["name"]: process["pid"]
        for process in status["processes"]
        if "worker" in process["name"]
    }


def _interaction(event_id: str, name: str, properties: dict[str, str]) -> Interaction:
    time_ms = now_ms()
    identifiers = (Identifier("customer_id", name),)
    return Interaction(
        event_id,
        "track",
        "Viewed",
        "web",
        "upstream",
        time_ms,
        time_ms,
        identifiers,
        dict(properties),
    )
