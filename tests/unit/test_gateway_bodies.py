"""Bodies of requests, with and without a key in the header: work is bounded, and a bad item of a
batch is rejected alone."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import httpx
import pytest

from pipeline.config import model
from pipeline.gateway import body
from pipeline.intake import scan
from pipeline.intake.decoding import decode_parts
from pipeline.intake.messages import BATCH_DECODER
from pipeline.intake.refusal import Refusal
from tests.support.doorway import (
    MAX_BATCH_BYTES,
    MAX_ITEMS,
    MAX_MESSAGE_BYTES,
    Doorway,
    configuration,
    doorway,
)

SHOP_KEY = "server-key-1"
MESSAGE = {"type": "track", "event": "Viewed", "anonymousId": "me"}


@pytest.fixture
def door(tmp_path: Path) -> Doorway:
    return doorway(configuration(model.Source("shop", "web", SHOP_KEY)), tmp_path)


def post(door: Doorway, path: str, content: bytes, key: str | None = SHOP_KEY) -> httpx.Response:
    return door.request("POST", path, key, content=content)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b'{"a": {"b": [1, {"c": NaN}]}}', "a.b.1.c"),
        (b'{"a": "NaN", "b": -Infinity, "c": NaN}', "b"),
        (b'{"a": 1e999}', "a"),
        (b'{"a": [1, 2, 1' + b"0" * 400 + b"]}", "a.2"),
        (b'{"a\\"NaN": [{"x": "]}"}, Infinity]}', 'a"NaN.1'),
        (b'{"a": 1.5e3, "b": "Infinity"}', None),
        (b"NaN", ""),
        (b'{"a": {"\\ud83d": NaN}}', "a.\ufffd"),
        (b'{"a": "' + b'\\"' * 1000, None),
    ],
)
def test_first_number_that_is_not_finite_is_named(text: bytes, name: str | None) -> None:
    assert scan.find_non_finite_number(text) == name


def test_long_name_is_cut_in_a_refusal() -> None:
    text = b'{"%s": [%s]}' % (b"n" * 1_000_000, b",".join([b"NaN"] * 1_000))
    name = scan.find_non_finite_number(text)
    assert name is not None
    assert len(name) < 200


HOSTILE_BODIES = {
    "zeros": b'{"batch":[' + b"0," * 2_000_000 + b"NaN]}",
    "long name": b'{"%s": [%s]}' % (b"n" * 1_000_000, b",".join([b"NaN"] * 1_000)),
    "objects": b'{"batch":[' + b"{}," * 1_300_000 + b"NaN]}",
    "quotes": b'{"batch":["' + b'\\"' * 2_000_000,
    "digits": b'{"batch":[' + b"1" * 4_000_000,
    "open brackets": b"[" * 4_000_000,
    "nested objects": b'{"a":' * 800_000,
    "strings": b'{"batch":[' + b'"",' * 1_300_000 + b"NaN]}",
}


@pytest.mark.parametrize("text", HOSTILE_BODIES.values(), ids=HOSTILE_BODIES.keys())
def test_error_path_needs_memory_in_proportion_to_the_body(text: bytes) -> None:
    tracemalloc.start()
    try:
        result = decode_parts(text, BATCH_DECODER, "batch", MAX_ITEMS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(result, Refusal)
    assert peak < 3 * len(text) + 8_000_000


@pytest.mark.parametrize(
    "repeated_part",
    [b"0,", b"{},", b'"",', b'\\"', b'"\\', b"[", b'{"a":', b"1", b"1e", b"-", b"NaN,"],
)
def test_scanning_work_is_proportional_to_the_text(repeated_part: bytes) -> None:
    # Bytes of tokens are counted: a token that is scanned twice counts twice.
    text = b'{"batch":["' + repeated_part * 20_000
    assert sum(len(tokens) for tokens in scan._TOKEN.findall(text)) <= len(text)
    subprocess.run(
        [sys.executable, "-c", _LIMITED_SCRIPT],
        input=text,
        check=True,
        timeout=120,
    )


_LIMITED_SCRIPT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
from pipeline.intake import scan
text = sys.stdin.buffer.read() * 8
scan.find_non_finite_number(text), scan.split_array(text, "batch", 5000)
"""


def test_key_in_the_header_is_checked_before_the_body_is_read(door: Doorway) -> None:
    async def send() -> tuple[int, int]:
        part_count = 0

        async def body_parts() -> object:
            nonlocal part_count
            for _ in range(10):
                part_count += 1
                yield b" " * 1000

        async with door.client("no-such-key") as client:
            answer = await client.post("/v1/batch", content=body_parts())  # type: ignore[arg-type]
        return answer.status_code, part_count

    assert asyncio.run(send()) == (401, 0)


def test_body_without_a_key_in_the_header_may_be_as_large_as_one_message(door: Doorway) -> None:
    gzip_body = gzip.compress(b'{"batch":[' + b"0," * (MAX_BATCH_BYTES // 4) + b"0]}")

    async def send(key: str | None) -> int:
        async with door.client(key) as client:
            headers = {"content-encoding": "gzip"}
            return (await client.post("/v1/batch", content=gzip_body, headers=headers)).status_code

    assert len(gzip_body) < 10_000
    assert asyncio.run(send(None)) == 413
    text = json.dumps({"batch": [MESSAGE] * 1_000, "writeKey": SHOP_KEY}).encode()
    assert len(text) < MAX_MESSAGE_BYTES
    assert post(door, "/v1/batch", text, None).status_code == 200


def test_batch_of_too_many_items_is_refused_before_any_is_written(door: Doorway) -> None:
    for path, name in (
        ("/v1/batch", "batch"),
        ("/v1/import", "batch"),
        ("/v1/outcomes", "outcomes"),
    ):
        text = json.dumps({name: [MESSAGE] * (MAX_ITEMS + 1)}).encode()
        answer = post(door, path, text)
        assert answer.status_code == 413
        error = answer.json()["error"]
        assert (error["code"], error["field"]) == ("too_many_items", name)
        assert str(MAX_ITEMS) in error["message"]
    assert not door.log.records
    answer_to_zeros = post(door, "/v1/batch", b'{"batch":[' + b"0," * 1_900_000 + b"0]}")
    assert answer_to_zeros.json()["error"]["code"] == "too_many_items"
    answer_to_full_batch = post(
        door, "/v1/batch", json.dumps({"batch": [MESSAGE] * MAX_ITEMS}).encode()
    )
    assert answer_to_full_batch.status_code == 200
    assert len(door.interactions()) == MAX_ITEMS


@pytest.mark.parametrize(
    "bad_item",
    [
        rb'{"type": "track", "event": "\ud83d", "anonymousId": "me"}',
        rb'{"type": "track", "event": "x", "anonymousId": "me", "properties": {"\udc00": 1}}',
        b'{"type": "track", "event": "\xff", "anonymousId": "me"}',
        b'{"type": "track", "event": "x", "anonymousId": "me", "properties": {"n": NaN}}',
        b'{"type": "track", "event": "x", "anonymousId": "me", "properties": {"n": 1e400}}',
        b'{"type": "track", "event": "a\nb", "anonymousId": "me"}',
        b"nonsense",
    ],
)
def test_malformed_item_leaves_the_others_accepted(door: Doorway, bad_item: bytes) -> None:
    good_item = json.dumps(MESSAGE).encode()
    answer = post(
        door,
        "/v1/batch",
        b'{"sentAt": null, "batch": [%s, %s , %s]}' % (good_item, bad_item, good_item),
    )
    assert answer.status_code == 200
    rejected_indices = [item["index"] for item in answer.json().get("rejected", [])]
    assert rejected_indices in ([1], [])
    assert len(door.interactions()) == 3 - len(rejected_indices)


@pytest.mark.parametrize(
    "text",
    [b'{"batch": [1, 2', b'{"batch": [1,,2]}', b'{"batch": [1]} x', b'{"x": NaN, "batch": [{}]}'],
)
def test_fault_outside_the_items_refuses_the_batch(door: Doorway, text: bytes) -> None:
    assert post(door, "/v1/batch", text).status_code == 400
    assert not door.log.records


def test_every_member_of_a_gzip_body_counts() -> None:
    parts = [b'{"batch":', b"[1,2,3]", b"}"]
    assert body.gunzip(b"".join(map(gzip.compress, parts)), 1000) == b"".join(parts)
    refusal_of_size = body.gunzip(b"".join([gzip.compress(b"x" * 400)] * 3), 1000)
    assert isinstance(refusal_of_size, Refusal)
    assert refusal_of_size.status == 413
    refusal_of_members = body.gunzip(gzip.compress(b"") * 100_000, 1000)
    assert isinstance(refusal_of_members, Refusal)
    refusal_of_junk = body.gunzip(gzip.compress(b"x") + os.urandom(40), 1000)
    assert isinstance(refusal_of_junk, Refusal)


def test_batch_without_items_is_decoded() -> None:
    text = b'{"batch": []}'
    assert decode_parts(text, BATCH_DECODER, "batch", 5) == BATCH_DECODER.decode(text)


_DEEP_ITEM = b'{"type": "track", "event": "x", "userId": "u", "properties": {"a": %s}}' % (
    b"[" * 50_000 + b"]" * 50_000
)


@pytest.mark.parametrize(
    ("bad_item", "code"),
    [
        (_DEEP_ITEM, "too_deep"),
        (b'{"type": "track", "event": "x\n", "userId": "u"}', "invalid_json"),
        (b'{"type": "track", "event": "\xe9", "userId": "u"}', "invalid_json"),
        (b'{"type": "track", "event": "x", "userId": "u",}', "invalid_json"),
        (b'{"type": "track", "event": "x", "userId": 01}', "invalid_json"),
        (b"7", "invalid_field"),
    ],
)
def test_bad_item_of_a_batch_is_named_and_the_others_are_written(
    door: Doorway, bad_item: bytes, code: str
) -> None:
    good_item = json.dumps(MESSAGE).encode()
    answer = post(door, "/v1/batch", b'{"batch": [%s, %s, %s]}' % (good_item, bad_item, good_item))
    assert answer.status_code == 200
    assert [(item["index"], item["code"]) for item in answer.json()["rejected"]] == [(1, code)]
    assert len(door.interactions()) == 2


@pytest.mark.parametrize(
    ("path", "content", "field"),
    [
        ("/v1/decide", b'{"placements": ["hero"]}', "interaction"),
        (
            "/v1/decide",
            b'{"interaction": {"type": "page"}, "placements": [{}]}',
            "placements[0].placement",
        ),
        ("/v1/outcomes", b'{"token": "t"}', "outcome"),
        ("/v1/cookie", b"{}", "anonymousId"),
    ],
)
def test_missing_field_is_named(door: Doorway, path: str, content: bytes, field: str) -> None:
    answer = post(door, path, content)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


def test_item_with_half_a_surrogate_pair_is_accepted(door: Doorway) -> None:
    half_pair = (
        b'{"type": "track", "event": "x", "anonymousId": "me", "properties": {"t": "\\ud83d"}}'
    )
    answer = post(
        door, "/v1/batch", b'{"batch": [%s, %s]}' % (json.dumps(MESSAGE).encode(), half_pair)
    )
    assert answer.json() == {"success": True}
    assert [interaction.properties for interaction in door.interactions()] == [{}, {"t": "\ufffd"}]


@pytest.mark.parametrize(
    ("encoding", "status"),
    [("gzip", 200), ("GZIP", 200), (" x-gzip ", 200), ("deflate", 415), ("gzip, gzip", 415)],
)
def test_encodings_are_recognised_by_their_names(door: Doorway, encoding: str, status: int) -> None:
    headers = {"Content-Encoding": encoding}
    content = gzip.compress(json.dumps(MESSAGE).encode())
    answer = door.request("POST", "/v1/track", SHOP_KEY, content=content, headers=headers)
    assert answer.status_code == status


MESSAGES_WITHOUT_IDS = [{**MESSAGE, "event": f"e{number % 3}"} for number in range(9)]


@pytest.mark.parametrize("written_count", [0, 4, 9])
def test_body_that_was_not_taken_counts_once_when_it_is_sent_again(
    door: Doorway, written_count: int
) -> None:
    text = json.dumps({"batch": MESSAGES_WITHOUT_IDS}).encode()
    door.log.failure, door.log.written_count = "away", written_count
    for _ in range(3):
        assert post(door, "/v1/batch", text).status_code == 503
    door.log.failure = None
    assert post(door, "/v1/batch", text).status_code == 200
    assert len(door.interactions()) == 3 * written_count + 9
    assert len({interaction.event_id for interaction in door.interactions()}) == 9


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch"])
def test_equal_bodies_that_were_taken_count_separately(door: Doorway, path: str) -> None:
    text = json.dumps({**MESSAGE, "batch": [MESSAGE]}).encode()
    door.log.failure, door.log.written_count = "away", 1
    assert post(door, path, text).status_code == 503
    door.log.failure = None
    for _ in range(3):
        assert post(door, path, text).status_code == 200
    assert len(door.interactions()) == 4
    assert len({interaction.event_id for interaction in door.interactions()}) == 3


def test_schema_that_cannot_be_parsed_is_refused(door: Doorway) -> None:
    deep_schema = json.dumps({"schema": "[" * 100_000}).encode()
    for text in (deep_schema, b"[" * 100_000, b'{"schema": "\\ud800"}', b"\xff"):
        answer = post(door, "/subjects/interactions-value", text, None)
        assert answer.status_code == 422
        assert answer.json()["error_code"] == 42201


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch"])
def test_byte_order_mark_before_a_body_is_ignored(door: Doorway, path: str) -> None:
    content = {"batch": [MESSAGE]} if path.endswith("batch") else MESSAGE
    assert post(door, path, b"\xef\xbb\xbf" + json.dumps(content).encode()).status_code == 200
    assert len(door.interactions()) == 1


@pytest.mark.parametrize("path", ["/v1//track", "//v1/track", "/v1/track/", "//v1///t/"])
def test_path_with_a_slash_too_many_is_found(door: Doorway, path: str) -> None:
    async def send() -> list[int]:
        async with door.client(SHOP_KEY) as client:
            url = f"http://gateway{path}"
            preflight = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
            answers = [
                await client.post(url, json=MESSAGE),
                await client.options(url, headers=preflight),
            ]
        return [answer.status_code for answer in answers]

    assert asyncio.run(send()) == [200, 204]
    assert len(door.interactions()) == 1


@pytest.mark.parametrize("blank_time", ["", "  "])
def test_blank_time_is_that_of_the_receipt(door: Doorway, blank_time: str) -> None:
    times = dict.fromkeys(("timestamp", "sentAt", "originalTimestamp"), blank_time)
    assert post(door, "/v1/track", json.dumps({**MESSAGE, **times}).encode()).status_code == 200
    [interaction] = door.interactions()
    assert interaction.occurred_at == interaction.received_at
