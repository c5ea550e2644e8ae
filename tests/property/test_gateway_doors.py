"""Every route of the gateway answers any request, and never with a fault.

Errors are JSON. A message that is answered with 200 was written, and a refusal names place and
reason.
"""

import asyncio
import gzip
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, get_args
from urllib.parse import quote

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.kafka import OutgoingRecord
from pipeline.config import model
from pipeline.intake.messages import Kind
from pipeline.model import topics
from pipeline.model.decision import Reply
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Identifier
from pipeline.rules.token import Claims
from tests.support.cases import cases
from tests.support.doorway import SERVER_KEY, Doorway, configuration, doorway

SHOP_KEY, WEB_KEY, LOG_KEY = "server-key-1", "public-key-1", "log-key-123"
POSTS: Final = (
    *(f"/v1/{kind}" for kind in get_args(Kind)),
    "/v1/batch",
    "/v1/import",
    *(f"/v1/{path}" for path in "tpigasb"),
    "/v1/decide",
    "/v1/outcomes",
)
_BATCH_ROUTES: Final = ("/v1/batch", "/v1/b", "/v1/import", "/v1/outcomes")
GETS: Final = (
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/v1/projects/any-key/settings",
    "/config",
    "/mode",
    "/subjects",
    "/schemas/types",
)
_FIELDS: Final = [
    *("type", "userId", "anonymousId", "previousId", "groupId", "event", "name", "category"),
    *("properties", "traits", "context", "timestamp", "sentAt", "originalTimestamp", "messageId"),
    *("writeKey", "batch", "interaction", "placements", "budget_ms", "token", "outcome"),
    *("outcomes", "traceparent", "proof", "externalIds", "id", "device", "ip", "userAgent"),
    *("page", "url", "locale", "timezone", "campaign", "consent", "categoryPreferences", "goal"),
    *("email", "phone"),
]
_TEXTS: Final = st.one_of(
    st.sampled_from(
        [
            "",
            "ana",
            "null",
            "\x00",
            "a\nb",
            "\ud83d",
            "2024-01-01",
            "ana@example.com",
            "hero",
            SHOP_KEY,
        ]
    ),
    st.sampled_from([*get_args(Kind), "click", "conversion", "expired"]),
    st.text(max_size=20),
    st.text(st.characters(exclude_categories=()), max_size=5),
)
_SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    _TEXTS,
)
_VALUES: Final = st.recursive(
    _SCALARS,
    lambda values: (
        st.lists(values, max_size=4)
        | st.dictionaries(st.sampled_from(_FIELDS) | _TEXTS, values, max_size=6)
    ),
    max_leaves=25,
)
_MESSAGES: Final = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(_FIELDS, _VALUES),
        "type": st.sampled_from(get_args(Kind)) | _VALUES,
        "event": _TEXTS,
        "anonymousId": _TEXTS | st.integers(),
        "userId": _TEXTS | st.integers(),
    },
)
_BODIES: Final = st.one_of(
    _MESSAGES,
    st.builds(lambda batch: {"batch": batch}, st.lists(_MESSAGES | _VALUES, max_size=5)),
    st.builds(lambda outcomes: {"outcomes": outcomes}, st.lists(_MESSAGES | _VALUES, max_size=5)),
    st.builds(
        lambda message, names: {"interaction": message, "placements": names},
        _MESSAGES,
        st.lists(_TEXTS, max_size=3) | _VALUES,
    ),
    _VALUES,
).map(lambda value: json.dumps(value).encode())


@st.composite
def _mutations(draw: st.DrawFn) -> bytes:
    """Draw bodies of JSON with one damaged part."""
    text = draw(_BODIES)
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 10)))
    insertion = draw(
        st.sampled_from([b"", b"NaN", b"\\ud800", b"\xff", b"[" * 2_000, b'"', b"1e999"])
    )
    return text[:start] + insertion + text[end:]


_RAW_BODIES: Final = _BODIES | _mutations() | st.binary(max_size=100)
_KEYS: Final = st.sampled_from([SHOP_KEY, WEB_KEY, LOG_KEY, SERVER_KEY, "wrong", None])


@contextmanager
def open_gateway() -> Iterator[Doorway]:
    """Provide a gateway whose stages answer probes at once."""
    with TemporaryDirectory() as folder:
        sources = (
            model.Source("shop", "web", SHOP_KEY),
            model.Source("web", "web", WEB_KEY, trust="public"),
            model.Source("log", "web", LOG_KEY, clock="log"),
        )
        door = doorway(configuration(*sources), Path(folder))

        def answer(records: Sequence[OutgoingRecord]) -> None:
            for record in records:
                probe = door.codec.decode(record.topic, record.value or b"")
                if isinstance(probe, IdentityChange) and probe.request is not None:
                    door.pending_replies.deliver([Reply(probe.request.request_id, None, None)])

        door.log.on_publish = answer
        yield door


def send_request(
    door: Doorway, key: str | None, method: str, path: str, **parts: Any
) -> httpx.Response:
    async def send() -> httpx.Response:
        async with door.client(key) as client:
            return await client.request(method, path, **parts)

    return asyncio.run(send())


def check_answer(answer: httpx.Response) -> Any:
    """Check that the answer is not a fault and an error is complete; return its JSON."""
    assert answer.status_code < 500, answer.text
    document = answer.json()
    if answer.status_code >= 400:
        error = document["error"]
        assert set(error) == {"code", "message", "field"}
        assert error["code"]
        assert error["message"]
        assert len(answer.content) < 100_000
    return document


@given(st.sampled_from(POSTS), _KEYS, _RAW_BODIES, st.booleans())
@settings(max_examples=cases(200))
def test_post_is_written_or_refused_with_a_reason(
    path: str, key: str | None, body: bytes, is_compressed: bool
) -> None:
    with open_gateway() as door:
        headers = {"content-encoding": "gzip"} if is_compressed else {}
        content = gzip.compress(body) if is_compressed else body
        answer = send_request(door, key, "POST", path, content=content, headers=headers)
        document = check_answer(answer)
        count = len(door.interactions())
        if path in _BATCH_ROUTES and answer.status_code == 200:
            letters = sum(record.topic == topics.DEAD_LETTERS for record in door.log.records)
            assert letters == len(document.get("rejected", ()))
            assert count > 0
        elif answer.status_code == 200:
            assert count == 1
        else:
            assert count == 0


@given(st.sampled_from(POSTS), st.binary(max_size=60), _KEYS, st.binary(max_size=200))
def test_no_header_or_compressed_body_is_a_fault(
    path: str, header: bytes, key: str | None, body: bytes
) -> None:
    with open_gateway() as door:
        for headers in (
            [(b"authorization", header)],
            [(b"authorization", b"Basic " + header)],
            [(b"content-type", header)],
            [(b"content-encoding", header)],
            [(b"content-encoding", b"gzip")],
            [(b"content-length", b"9" * 30)],
            [(b"traceparent", header)],
        ):
            check_answer(send_request(door, key, "POST", path, content=body, headers=headers))


@given(_MESSAGES, st.integers(-(2**63), 2**63 - 1))
def test_outcome_with_a_valid_token_is_no_fault(message: dict[str, Any], time_ms: int) -> None:
    with open_gateway() as door:
        identifier = Identifier("customer_id", "ana")
        token = door.tokens.sign(Claims("a", "d", identifier, "web", "c", "o", "t", time_ms))
        body = json.dumps({**message, "token": token, "outcome": "click"})
        for key in (SHOP_KEY, WEB_KEY, LOG_KEY):
            check_answer(send_request(door, key, "POST", "/v1/outcomes", content=body.encode()))


@given(
    st.sampled_from(["customer_id", "email", "phone", "cookie", "tax"]) | _TEXTS,
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.sampled_from(["GET", "DELETE", "PUT"]),
    st.sampled_from([SERVER_KEY, SHOP_KEY, None]),
    st.sampled_from(["", "/export", "/more", "?x=1", "%ff", "%"]),
)
def test_profile_routes_answer_any_namespace_and_value(
    namespace: str, value: str, method: str, key: str | None, tail: str
) -> None:
    quoted_namespace = quote(namespace.encode(errors="replace"), safe="")
    with open_gateway() as door:
        check_answer(
            send_request(
                door, key, method, f"/v1/profiles/{quoted_namespace}/{quote(value, safe='')}{tail}"
            )
        )


@given(
    st.sampled_from(GETS)
    | st.builds(lambda name: f"/schemas/ids/{quote(name, safe='')}", st.text(max_size=30))
    | st.builds(lambda name: f"/subjects/{quote(name, safe='')}/versions", st.text(max_size=9))
    | st.builds(lambda n: f"/subjects/interactions-value/versions/{quote(n)}", st.text(max_size=30))
)
def test_public_routes_need_no_key(path: str) -> None:
    with open_gateway() as door:
        answer = send_request(door, None, "GET", path)
        assert answer.status_code < 500
        if path != "/metrics":
            answer.json()
        log_topics = {topics.INTERACTIONS, topics.IDENTITIES}
        assert not log_topics & door.log.topics()


@given(_RAW_BODIES)
def test_schema_lookup_answers_any_body(body: bytes) -> None:
    with open_gateway() as door:
        answer = send_request(door, None, "POST", "/subjects/interactions-value", content=body)
        assert answer.status_code < 500
        answer.json()
