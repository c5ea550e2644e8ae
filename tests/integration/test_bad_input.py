"""Bad input is refused with the field at fault, or dead-lettered; everything else goes on."""

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import Producer

from pipeline.adapters.clock import now_ms
from pipeline.home.codec import open_codec
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.interaction import Identifier, Interaction
from tests.support.stack import Stack, eventually

WRITE_KEY = "test-app-key"
SERVER_KEY = "test-office-key"
_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_TRACK = {"event": "Viewed", "userId": "somebody"}
_DEEP_JSON = b"[" * 100_000 + b"]" * 100_000


def _track_body(**fields: object) -> bytes:
    return json.dumps({**_TRACK, **fields}).encode()


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        pytest.param(b"{not json", 400, "invalid_json", None, id="malformed JSON"),
        pytest.param(
            b'{"event": "Viewed", "userId": "u", "properties": {"n": NaN}}',
            400,
            "not_finite",
            "properties.n",
            id="NaN",
        ),
        pytest.param(
            b'{"event": "Viewed", "userId": "u", "properties": {"n": %s}}' % _DEEP_JSON,
            400,
            "too_deep",
            None,
            id="deep",
        ),
        pytest.param(
            b'{"event": "Viewed", "userId": "u", "unknown": %s}' % _DEEP_JSON,
            400,
            "too_deep",
            None,
            id="deep in an unknown field",
        ),
        pytest.param(b'{"event": "Viewed"}', 400, "missing_identifier", "userId", id="nobody"),
        pytest.param(_track_body(userId="null"), 400, "invalid_identifier", "userId", id="null"),
        pytest.param(
            _track_body(userId="Anonymous"), 400, "invalid_identifier", "userId", id="blocked"
        ),
        pytest.param(_track_body(userId=""), 400, "invalid_identifier", "userId", id="empty"),
        pytest.param(_track_body(event=7), 400, "invalid_field", "event", id="type"),
        pytest.param(
            _track_body(properties={"text": "x" * 10_000_000}), 413, "too_large", None, id="10 MB"
        ),
    ],
)
def test_gateway_names_the_field_at_fault(
    stack: Stack, body: bytes, status: int, code: str, field: str | None
) -> None:
    with stack.client(WRITE_KEY) as client:
        answer = client.post("/v1/track", content=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["field"]) == (status, code, field), error
        assert error["message"]
        assert client.get("/healthz").status_code == 200


def test_batch_context_is_bounded_like_its_messages(stack: Stack) -> None:
    context = {"page": {"url": "x" * 600_000}}
    body = {"batch": [{**_TRACK, "type": "track"}] * 3, "context": context}
    with stack.client(WRITE_KEY) as client:
        answer = client.post("/v1/batch", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (413, "too_large", "context")


def test_time_may_be_an_hour_ahead_and_no_more(stack: Stack) -> None:
    with stack.client(WRITE_KEY) as client:
        allowed_message = {**_TRACK, "timestamp": now_ms() + _HOUR_MS - _MINUTE_MS}
        assert client.post("/v1/track", json=allowed_message).status_code == 200
        refusal = client.post("/v1/track", json={**_TRACK, "timestamp": now_ms() + 2 * _HOUR_MS})
    error = refusal.json()["error"]
    assert (refusal.status_code, error["code"], error["field"]) == (
        400,
        "in_the_future",
        "timestamp",
    )


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        (None, 401, "unauthorized"),
        ("", 401, "unauthorized"),
        ("no-such-key", 401, "unauthorized"),
        (SERVER_KEY, 403, "read_only_key"),
    ],
)
def test_sending_needs_a_write_key(stack: Stack, key: str | None, status: int, code: str) -> None:
    _check_refusal(stack, "POST", "/v1/track", key, (status, code))


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        (None, 401, "unauthorized"),
        ("", 401, "unauthorized"),
        ("no-such-key", 401, "unauthorized"),
        (WRITE_KEY, 403, "write_only_key"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_reading_and_erasing_need_a_server_key(
    stack: Stack, method: str, key: str | None, status: int, code: str
) -> None:
    _check_refusal(stack, method, "/v1/profiles/customer_id/somebody", key, (status, code))


def _check_refusal(
    stack: Stack, method: str, path: str, key: str | None, expected: tuple[int, str]
) -> None:
    auth = None if key is None else (key, "")
    body = _TRACK if method == "POST" else None
    answer = httpx.request(method, stack.url + path, json=body, auth=auth, timeout=30)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == expected
    assert error["message"]
    assert ("WWW-Authenticate" in answer.headers) is (answer.status_code == 401)


def test_bad_records_of_upstream_apps_are_dead_letters_and_the_next_goes_on(stack: Stack) -> None:
    encode = open_codec(stack.settings).encode
    name = uuid4().hex[:12]
    key = f"customer_id:{name}"
    identifier = Identifier("customer_id", name)
    time_ms = now_ms()
    value = encode(topics.INTERACTIONS, _interaction(f"good-{name}", time_ms, identifier))
    future_interaction = _interaction(
        f"ahead-{name}", time_ms, identifier, ahead_ms=_HOUR_MS - _MINUTE_MS
    )
    assert value is not None
    bad_records = _bad_records(value, identifier, time_ms)
    producer = Producer({**stack.settings.kafka(), "partitioner": "murmur2_random"})
    for content in (*bad_records.values(), value, future_interaction):
        payload = (
            encode(topics.INTERACTIONS, content) if isinstance(content, Interaction) else content
        )
        producer.produce(topics.INTERACTIONS, payload, key)
    assert producer.flush(30) == 0

    stack.wait_until_idle()
    letters = [
        letter for letter in stack.ask("dlq", "list", "--limit", "1000") if letter["key"] == key
    ]
    assert [(letter["stage"], letter["reason"]) for letter in letters] == [
        ("identity", reason) for reason, _ in bad_records
    ]
    for letter, (_, field) in zip(letters, bad_records, strict=True):
        assert letter["detail"]
        assert letter["detail"].startswith(field)
    decision_ids = [
        decision.event_id for _, decision in stack.records.read_all(topics.DECISIONS, Decision)
    ]
    assert [event_id for event_id in decision_ids if name in event_id] == [
        f"good-{name}",
        f"ahead-{name}",
    ]
    with stack.client(SERVER_KEY) as office:
        # The gateway reads profiles a moment later than they are written.
        eventually(lambda: _count_interactions(office, name) == 2)


def _bad_records(
    value: bytes, identifier: Identifier, time_ms: int
) -> dict[tuple[str, str], bytes | Interaction | None]:
    """Return records that identity refuses, by the reason and the first words of its detail."""
    return {
        ("not-confluent-framing", ""): b"no Avro at all",
        ("malformed-avro", ""): value[: len(value) // 2],
        ("unknown-schema-id", ""): b"\x00\x7f\xff\xff\xff" + value[5:],
        ("empty-value", ""): None,
        ("time-in-future", "received_at:"): _interaction("far", time_ms + 2 * _HOUR_MS, identifier),
        ("time-in-future", "occurred_at:"): _interaction(
            "far", time_ms, identifier, ahead_ms=2 * _HOUR_MS
        ),
        ("time-before-1970", "received_at:"): _interaction(
            "minus", -62_135_596_800_000, identifier
        ),
        ("no-identifiers", "identifiers:"): _interaction("nobody", time_ms),
        ("no-valid-identifier", "identifiers: customer_id:"): _interaction(
            "blocked", time_ms, Identifier("customer_id", "null")
        ),
    }


def _count_interactions(office: httpx.Client, name: str) -> Any:
    answer = office.get(f"/v1/profiles/customer_id/{name}")
    return answer.json()["traits"]["interactions"] if answer.status_code == 200 else None


def _interaction(
    event_id: str, received_at: int, *identifiers: Identifier, ahead_ms: int = 0
) -> Interaction:
    return Interaction(
        event_id,
        "track",
        "Viewed",
        "web",
        "upstream",
        occurred_at=received_at + ahead_ms,
        received_at=received_at,
        identifiers=identifiers,
    )
