"""Requests of pages and apps: origins, preflights, short paths, settings, rate limits."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.config import model
from pipeline.config.compile import compile_bundle
from pipeline.config.origins import origin_problem, origins_by_source
from pipeline.gateway import rate_limits
from pipeline.gateway.rate_limits import RateLimits
from pipeline.gateway.segment_clients import SHORT_PATHS
from pipeline.model.interaction import Interaction
from tests.support.doorway import Doorway, configuration, doorway

SHOP_KEY, OPEN_KEY, SERVER_KEY = "key-of-the-shop", "key-for-any-page", "key-of-a-server"
HOME_ORIGIN, EVIL_ORIGIN = "https://shop.example", "https://evil.example"
MESSAGE = {"anonymousId": "cookie-1", "event": "Viewed", "userId": None, "messageId": "m-1"}
POST_PATHS = [f"/v1/{path}" for path in (*SHORT_PATHS, *SHORT_PATHS.values(), "b", "batch", "m")]


def source(key: str, **fields: Any) -> model.Source:
    return model.Source(key, "web", key, **{"trust": "public", "asserts": ("cookie",), **fields})


@pytest.fixture
def door(tmp_path: Path) -> Doorway:
    shop = source(
        SHOP_KEY, origins=(HOME_ORIGIN, "https://*.shop.example", "http://localhost:3000")
    )
    return doorway(configuration(shop, model.Source("server", "web", SERVER_KEY)), tmp_path)


def ask(door: Doorway, method: str, path: str, **options: Any) -> httpx.Response:
    return door.request(method, path, options.pop("key", None), **options)


def post(door: Doorway, path: str, body: object, **headers: str) -> httpx.Response:
    """Post as a page does: text/plain, the key in the body."""
    headers.setdefault("Content-Type", "text/plain;charset=UTF-8")
    return ask(door, "POST", path, content=json.dumps(body), headers=headers)


def ask_preflight(door: Doorway, path: str, origin: str) -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-retry-count",
    }
    return ask(door, "OPTIONS", path, headers=headers)


@pytest.mark.parametrize("path", [*POST_PATHS, "/v1/decide", "/v1/outcomes"])
def test_preflight_lets_pages_of_allowed_origins_post(tmp_path: Path, path: str) -> None:
    door = doorway(configuration(source(SHOP_KEY, origins=(HOME_ORIGIN,))), tmp_path)
    answer = ask_preflight(door, path, HOME_ORIGIN)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == HOME_ORIGIN
    assert "x-retry-count" in answer.headers["access-control-allow-headers"]
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-origin" not in ask_preflight(door, path, EVIL_ORIGIN).headers


def test_source_without_origins_is_open_to_any_page(tmp_path: Path) -> None:
    door = doorway(
        configuration(source(OPEN_KEY), source(SHOP_KEY, origins=(HOME_ORIGIN,))), tmp_path
    )
    assert (
        ask_preflight(door, "/v1/t", EVIL_ORIGIN).headers["access-control-allow-origin"]
        == EVIL_ORIGIN
    )
    accepted_answer = post(door, "/v1/t", {**MESSAGE, "writeKey": OPEN_KEY}, Origin=EVIL_ORIGIN)
    assert (
        accepted_answer.status_code,
        accepted_answer.headers["access-control-allow-origin"],
    ) == (200, EVIL_ORIGIN)
    refused_answer = post(door, "/v1/t", {**MESSAGE, "writeKey": SHOP_KEY}, Origin=EVIL_ORIGIN)
    assert refused_answer.status_code == 403
    assert len(door.interactions()) == 1


@pytest.mark.parametrize("is_in_header", [True, False])
@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        (HOME_ORIGIN, True),
        ("https://www.shop.example", True),
        ("https://a.b.shop.example", True),
        ("http://localhost:3000", True),
        (None, True),
        (EVIL_ORIGIN, False),
        ("http://shop.example", False),
        ("https://shop.example:8443", False),
        ("https://evilshop.example", False),
        ("https://shop.example.evil.example", False),
        ("http://localhost", False),
        ("null", False),
    ],
)
def test_key_is_for_pages_of_its_origins_only(
    door: Doorway, origin: str | None, is_allowed: bool, is_in_header: bool
) -> None:
    headers = {} if origin is None else {"Origin": origin}
    body = MESSAGE if is_in_header else {**MESSAGE, "writeKey": SHOP_KEY}
    key = SHOP_KEY if is_in_header else None
    answer = ask(door, "POST", "/v1/t", content=json.dumps(body), headers=headers, key=key)
    assert answer.status_code == (200 if is_allowed else 403)
    assert len(door.interactions()) == int(is_allowed)
    if not is_allowed:
        assert answer.json()["error"]["code"] == "origin_not_allowed"


def test_refusals_can_be_read_by_the_page(door: Doorway) -> None:
    answer = post(door, "/v1/t", {"writeKey": "no such key"}, Origin=EVIL_ORIGIN)
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == EVIL_ORIGIN


def test_no_page_may_read_profiles(door: Doorway) -> None:
    answer = ask(door, "GET", "/v1/profiles/cookie/c", headers={"Origin": HOME_ORIGIN})
    assert "access-control-allow-origin" not in answer.headers
    assert ask_preflight(door, "/v1/profiles/cookie/c", HOME_ORIGIN).status_code == 405


@pytest.mark.parametrize(
    "text", ["shop.example", "https://shop.example/", "https://*", "*", "https://a b", "null", ""]
)
def test_malformed_origin_is_named(text: str) -> None:
    assert origin_problem(text)
    bundle = configuration(source(SHOP_KEY)).bundle
    sources = replace(bundle.sources, sources=(source(SHOP_KEY, origins=(HOME_ORIGIN, text)),))
    [problem] = compile_bundle(replace(bundle, sources=sources))  # type: ignore[misc]
    assert problem.path == ("sources", "sources", 0, "origins", 1)


@given(
    st.from_regex(r"https?://(\*\.)?[A-Za-z0-9]{1,9}(\.[a-z]{2,5})?(:(80|443|81))?", fullmatch=True)
)
def test_origin_that_is_accepted_allows_itself_as_browsers_write_it(text: str) -> None:
    assert origin_problem(text) is None
    [origins] = origins_by_source([source(SHOP_KEY, origins=(text,))]).values()
    page = httpx.URL(text.lower().replace("*", "any"))
    assert origins.allows(f"{page.scheme}://{page.netloc.decode()}")


def test_short_paths_do_the_same_as_the_long_ones(door: Doorway) -> None:
    for short_path, kind in SHORT_PATHS.items():
        for path in (short_path, kind):
            body = {**MESSAGE, "writeKey": SHOP_KEY, "groupId": "g", "previousId": "p"}
            assert post(door, f"/v1/{path}", body).status_code == 200
        short_interaction, long_interaction = door.interactions()[-2:]
        assert short_interaction.kind == kind
        assert _remove_times(short_interaction) == _remove_times(long_interaction)
    for path in ("b", "batch"):
        body = {"batch": [{**MESSAGE, "type": "track"}], "writeKey": SHOP_KEY}
        assert post(door, f"/v1/{path}", body).status_code == 200
    short_interaction, long_interaction = door.interactions()[-2:]
    assert _remove_times(short_interaction) == _remove_times(long_interaction)


def test_metrics_of_clients_are_accepted_and_dropped(door: Doorway) -> None:
    assert post(door, "/v1/m", {"series": [{"metric": "x", "value": 1}]}).status_code == 200
    assert not door.log.records


def test_settings_name_this_gateway_as_the_host(door: Doorway) -> None:
    answer = ask(door, "GET", f"/v1/projects/{SHOP_KEY}/settings", headers={"Origin": HOME_ORIGIN})
    assert answer.json()["integrations"]["Segment.io"] == {
        "apiKey": SHOP_KEY,
        "apiHost": "gateway/v1",
        "protocol": "http",
        "unbundledIntegrations": [],
        "addBundledMetadata": False,
    }
    assert answer.headers["access-control-allow-origin"] == HOME_ORIGIN
    assert ask(door, "GET", "/v1/projects/other-key/settings").status_code == 404


class Clock:
    """Clock that stands still, in place of the system's, in seconds."""

    now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def stop_clock() -> Iterator[Clock]:
    clock = Clock()
    with patch("time.time", clock):
        yield clock


@given(st.integers(1, 50), st.integers(1, 120))
def test_one_address_may_make_its_number_of_requests_a_minute(maximum: int, try_count: int) -> None:
    limited_source = source(SHOP_KEY, requests_per_minute=maximum)
    with stop_clock() as clock:
        limits = RateLimits()
        answers = [limits.check(limited_source, "10.0.0.1") for _ in range(try_count)]
        assert [answer is None for answer in answers] == [n < maximum for n in range(try_count)]
        for refusal in filter(None, answers):
            headers = dict(refusal.headers)
            assert refusal.status == 429
            assert 1 <= int(headers["Retry-After"]) <= 60
        assert limits.check(limited_source, "10.0.0.2") is None
        assert limits.check(replace(limited_source, name="other"), "10.0.0.1") is None
        clock.now_s += 121
        assert limits.check(limited_source, "10.0.0.1") is None


def test_addresses_of_one_ipv6_network_count_together() -> None:
    limits, limited_source = RateLimits(), source(SHOP_KEY, requests_per_minute=1)
    assert limits.check(limited_source, "2001:db8:1:2:3::1") is None
    assert limits.check(limited_source, "2001:db8:1:2:ffff::9") is not None
    assert limits.check(limited_source, "2001:db8:1:3::1") is None
    assert limits.check(limited_source, "::ffff:10.0.0.1") is None
    assert limits.check(limited_source, "::ffff:10.0.0.2") is None


def test_trusted_keys_have_no_limit_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "_PUBLIC_LIMIT", 2)
    limits = RateLimits()
    trusted_source = model.Source("server", "web", SERVER_KEY)
    assert [limits.check(trusted_source, "10.0.0.1") for _ in range(9)] == [None] * 9
    assert [limits.check(source(OPEN_KEY), "10.0.0.1") is None for _ in range(3)] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("key", [SHOP_KEY, None])
def test_request_beyond_the_rate_limit_writes_nothing(tmp_path: Path, key: str | None) -> None:
    door = doorway(configuration(source(SHOP_KEY, requests_per_minute=3)), tmp_path)
    body = json.dumps({**MESSAGE, "writeKey": SHOP_KEY})
    answers = [
        ask(door, "POST", "/v1/t", content=body, key=key, headers={"Origin": HOME_ORIGIN})
        for _ in range(4)
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["access-control-expose-headers"] == "Retry-After"
    assert len(door.interactions()) == 3


def test_bot_is_recognised_by_the_request_where_the_message_names_no_agent(door: Doorway) -> None:
    bot = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
    headers = {"User-Agent": bot}
    agent_message = {**MESSAGE, "writeKey": SHOP_KEY, "context": {"userAgent": "Mozilla/5.0 (X11)"}}
    for body in (
        {**MESSAGE, "writeKey": SHOP_KEY},
        {**MESSAGE, "writeKey": SERVER_KEY},
        agent_message,
    ):
        assert post(door, "/v1/t", body, **headers).status_code == 200
    user_agents = [interaction.context.user_agent for interaction in door.interactions()]
    assert user_agents == [bot, None, "Mozilla/5.0 (X11)"]


REQUEST_FILES = sorted((Path(__file__).parents[1] / "support" / "clients").glob("*.json"))


@pytest.mark.parametrize("request_file", REQUEST_FILES, ids=lambda path: path.stem)
def test_mobile_clients_requests_are_taken_whole(door: Doorway, request_file: Path) -> None:
    # The files have the paths, headers and bodies that the clients' source code produces.
    request = json.loads(request_file.read_text())
    content = json.dumps({**request["body"], "writeKey": SHOP_KEY}).encode()
    if request["headers"].get("Content-Encoding") == "gzip":
        content = gzip.compress(content)

    async def yield_chunks() -> Any:
        for start in range(0, len(content), 100):
            yield content[start : start + 100]

    answer = ask(door, "POST", request["path"], content=yield_chunks(), headers=request["headers"])
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    batch = request["body"]["batch"]
    interactions = door.interactions()
    assert [(interaction.event_id, interaction.kind) for interaction in interactions] == [
        (m["messageId"], m["type"]) for m in batch
    ]
    assert {i.value for interaction in interactions for i in interaction.identifiers} == {
        m["anonymousId"] for m in batch
    }


_SWIFT = json.loads((Path(__file__).parents[1] / "support/clients/swift.json").read_text())
_FILE_BYTES = 475_000
"""Size beyond which the Swift client begins another file after the event that exceeds it."""


def _swift_file(events: list[dict[str, Any]]) -> bytes:
    """Return a file of events as the Swift client writes and uploads it, line by line."""
    lines = ["," * bool(number) + json.dumps(event) for number, event in enumerate(events)]
    end = f'],"sentAt":"2026-01-15T09:30:30.000Z","writeKey":"{SHOP_KEY}"}}'
    return "\n".join(['{ "batch": [', *lines, end, ""]).encode()


def _post_swift(door: Doorway, content: bytes) -> httpx.Response:
    headers = {**_SWIFT["headers"], "X-Retry-Count": "2"}
    return ask(door, "POST", "/v1/b", content=content, headers=headers)


def test_largest_file_of_the_swift_client_is_taken(door: Doorway) -> None:
    [event] = [message for message in _SWIFT["body"]["batch"] if message["type"] == "track"]
    size = len(json.dumps(event))
    events = [{**event, "messageId": f"m-{number}"} for number in range(_FILE_BYTES // size)]
    notes = {f"note-{number}": "x" * 3_000 for number in range(10)}
    events.append({**event, "messageId": "last", "properties": notes})
    content = _swift_file(events)
    assert len(content) > _FILE_BYTES
    assert _post_swift(door, content).status_code == 200
    assert len(door.interactions()) == len(events)


def test_file_that_the_swift_client_continued_after_its_end_is_refused_for_good(
    door: Doorway,
) -> None:
    # The Swift client before 1.9 appends to a finished file after a crash. It drops a file only if
    # the answer is 400, and repeats the request for ever after any other refusal.
    events = _SWIFT["body"]["batch"]
    content = _swift_file(events[:2]) + b"," + _swift_file(events[2:])
    assert _post_swift(door, content).status_code == 400
    assert not door.interactions()


def _remove_times(interaction: Interaction) -> Interaction:
    return replace(interaction, occurred_at=0, received_at=0)
