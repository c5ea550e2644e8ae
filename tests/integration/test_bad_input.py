"""What cannot be taken is refused with the field at fault, or dead-lettered; the rest goes on."""

import json
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import Producer

from pipeline.adapters.avro import open_codec
from pipeline.model import topics
from pipeline.model.interaction import Identifier, Interaction
from tests.support.stack import Stack, eventually

WRITE_KEY = "test-app-key"
_HOUR_MS = 3_600_000


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


_TRACK = {"event": "Viewed", "userId": "somebody"}


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{not json", 400, None),
        (b'{"event": "Viewed", "userId": "u", "properties": {"n": NaN}}', 400, "properties.n"),
        (b"[" * 100_000 + b"]" * 100_000, 400, None),
        (b'{"event": "Viewed"}', 400, "userId"),
        (json.dumps({**_TRACK, "userId": "null"}).encode(), 400, "userId"),
        (json.dumps({**_TRACK, "userId": "Anonymous"}).encode(), 400, "userId"),
        (json.dumps({**_TRACK, "userId": ""}).encode(), 400, "userId"),
        (json.dumps({**_TRACK, "event": 7}).encode(), 400, "event"),
        (json.dumps({**_TRACK, "timestamp": "2099-01-01T00:00:00Z"}).encode(), 400, "timestamp"),
        (json.dumps({**_TRACK, "properties": {"text": "x" * 10_000_000}}).encode(), 413, None),
    ],
    ids=[
        "malformed JSON",
        "NaN",
        "deep",
        "nobody",
        "null",
        "anonymous",
        "empty",
        "type",
        "future",
        "10 MB",
    ],
)
def test_the_gateway_names_what_is_wrong(
    stack: Stack, body: bytes, status: int, field: str | None
) -> None:
    with stack.client(WRITE_KEY) as client:
        answer = client.post("/v1/track", content=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["field"]) == (status, field), error
        assert error["code"]
        assert error["message"]
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("key", ["", "no-such-key", "test-office-key"])
def test_only_a_write_key_can_send(stack: Stack, key: str) -> None:
    with stack.client(key) as client:
        answer = client.post("/v1/track", json=_TRACK)
    assert answer.status_code in (401, 403)
    assert answer.json()["error"]["message"]


def test_no_key_at_all(stack: Stack) -> None:
    assert httpx.post(f"{stack.url}/v1/track", json=_TRACK).status_code == 401


def test_what_upstream_apps_get_wrong_is_dead_lettered_and_the_next_goes_on(stack: Stack) -> None:
    encode = open_codec(stack.settings).encode
    name = uuid4().hex[:12]
    key = f"customer_id:{name}"
    good = _interaction(f"good-{name}", Identifier("customer_id", name))
    value = encode(topics.INTERACTIONS, good)
    future = _interaction(f"future-{name}", good.identifiers[0], _now_ms() + 2 * _HOUR_MS)
    blocked = _interaction(f"blocked-{name}", Identifier("customer_id", "null"))
    wrong: dict[str, bytes | None] = {
        "no Avro": b"no Avro at all",
        "cut": value[: len(value) // 2],
        "unknown schema": b"\x00\x7f\xff\xff\xff" + value[5:],
        "no value": None,
        "future": encode(topics.INTERACTIONS, future),
        "blocked": encode(topics.INTERACTIONS, blocked),
    }
    producer = Producer({**stack.settings.kafka(), "partitioner": "murmur2_random"})
    for one in (*wrong.values(), value):
        producer.produce(topics.INTERACTIONS, one, key)
    assert producer.flush(30) == 0

    stack.kairos("status", "--until-idle", "60")
    with stack.client("test-office-key") as office:
        known = eventually(lambda: _found(office, name))
    assert known["traits"]["interactions"] == 1
    letters = [
        one
        for one in stack.json("dlq", "list", "--stage", "identity", "--limit", "1000")
        if one["key"] == key
    ]
    assert len(letters) == len(wrong)
    assert all(one["reason"] and one["detail"] for one in letters), letters
    assert {"time-in-future", "no-valid-identifier", "empty-value"} <= {
        one["reason"] for one in letters
    }


def _found(office: httpx.Client, name: str) -> dict[str, Any] | None:
    answer = office.get(f"/v1/profiles/customer_id/{name}")
    return answer.json() if answer.status_code == 200 else None


def _interaction(event_id: str, who: Identifier, at_ms: int | None = None) -> Interaction:
    at = _now_ms() if at_ms is None else at_ms
    return Interaction(event_id, "track", "Viewed", "web", "upstream", at, at, (who,))
