"""The web SDK as it is served: size, caching, the cookie that the server sets, debug tokens."""

import gzip
import json
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from pipeline.config import model
from pipeline.gateway.sdk_files import script_files
from pipeline.model.interaction import Identifier
from pipeline.rules.token import Claims
from tests.support.doorway import SERVER_KEY, Doorway, configuration, doorway

MAX_BYTES = 10_000
SHOP_KEY, HOME_ORIGIN = "key-of-the-shop", "https://www.shop.example"
_SDK = Path(__file__).parents[2] / "pipeline" / "gateway" / "sdk"


@pytest.fixture
def door(tmp_path: Path) -> Doorway:
    return doorway(configuration(model.Source("shop", "web", SHOP_KEY, trust="public")), tmp_path)


def ask(door: Doorway, method: str, url: str, **options: Any) -> httpx.Response:
    return door.request(method, url, options.pop("key", None), **options)


def test_sdk_is_small(capsys: pytest.CaptureFixture[str]) -> None:
    size = len(script_files()["sdk.js"].gzip_body)
    with capsys.disabled():
        print(f"\nsdk.js: {size:,} bytes gzipped, of {MAX_BYTES:,}")
    assert size < MAX_BYTES


def test_served_files_equal_those_of_the_folder_each_time(door: Doorway) -> None:
    for name in ("sdk.js", "sdk-debug.js"):
        plain_answer = ask(door, "GET", f"/{name}", headers={"Accept-Encoding": "identity"})
        packed_answer = ask(door, "GET", f"/{name}", headers={"Accept-Encoding": "gzip, br"})
        assert plain_answer.content == packed_answer.content == (_SDK / name).read_bytes()
        assert packed_answer.headers["content-encoding"] == "gzip"
        assert "Accept-Encoding" in packed_answer.headers["vary"]
    assert script_files() == script_files()
    assert gzip.decompress(script_files()["sdk.js"].gzip_body) == (_SDK / "sdk.js").read_bytes()


def test_browser_with_the_current_sdk_gets_no_body(door: Doorway) -> None:
    first_answer = ask(door, "GET", "/sdk.js")
    etags = f'"x", W/{first_answer.headers["etag"]}'
    second_answer = ask(door, "GET", "/sdk.js", headers={"If-None-Match": etags})
    assert (second_answer.status_code, second_answer.content) == (304, b"")
    assert ask(door, "GET", "/sdk.js", headers={"If-None-Match": '"x"'}).status_code == 200


def test_file_under_its_digest_is_cached_for_ever(door: Doorway) -> None:
    digest = sha256((_SDK / "sdk.js").read_bytes()).hexdigest()[:16]
    file = ask(door, "GET", f"/sdk-{digest}.js")
    assert "immutable" in file.headers["cache-control"]
    assert file.headers["etag"] == f'"{digest}"'
    assert ask(door, "GET", f"/sdk-{digest[::-1]}.js").status_code == 404
    assert "immutable" not in ask(door, "GET", "/sdk.js").headers["cache-control"]


def request_cookie(
    door: Doorway, origin: str | None, domain: str, **options: Any
) -> httpx.Response:
    body = {"writeKey": SHOP_KEY, "anonymousId": "c-1; x", "domain": domain, **options}
    headers = {} if origin is None else {"Origin": origin}
    url = "https://k.shop.example/v1/cookie"
    return ask(door, "POST", url, content=json.dumps(body), headers=headers)


def test_cookie_is_set_for_pages_of_the_gateways_own_site(door: Doorway) -> None:
    answer = request_cookie(door, HOME_ORIGIN, "shop.example")
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-credentials"] == "true"
    value, *attributes = answer.headers["set-cookie"].split("; ")
    assert value == "ajs_anonymous_id=c-1%3B%20x"
    assert {attribute.lower() for attribute in attributes} == {
        *("domain=shop.example", "max-age=31536000", "path=/", "samesite=lax", "secure")
    }


@pytest.mark.parametrize(
    ("origin", "domain"),
    [
        ("https://evil.example", "shop.example"),
        ("https://evilshop.example", "shop.example"),
        (HOME_ORIGIN, "evil.example"),
        (HOME_ORIGIN, "www.shop.example"),
        (HOME_ORIGIN, ""),
        (None, "shop.example"),
        ("null", "shop.example"),
    ],
)
def test_page_or_domain_of_another_site_sets_no_cookie(
    door: Doorway, origin: str | None, domain: str
) -> None:
    answer = request_cookie(door, origin, domain)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_cookie_needs_an_id_and_a_key(door: Doorway) -> None:
    assert request_cookie(door, HOME_ORIGIN, "shop.example", anonymousId="").status_code == 400
    assert (
        request_cookie(door, HOME_ORIGIN, "shop.example", anonymousId="x" * 257).status_code == 400
    )
    assert request_cookie(door, HOME_ORIGIN, "shop.example", writeKey="other").status_code == 401


def test_debug_tokens_are_issued_to_server_keys_and_expire(door: Doorway) -> None:
    assert ask(door, "POST", "/v1/debug-tokens").status_code == 401
    assert ask(door, "POST", "/v1/debug-tokens", key=SHOP_KEY).status_code == 403
    token_answer = ask(door, "POST", "/v1/debug-tokens", key=SERVER_KEY)
    assert token_answer.status_code == 200
    token = token_answer.json()["token"]
    claims = Claims("a", "d", Identifier("cookie", "c"), "web", "c", "o", "t")
    for invalid_token in ("", "x", token[:-1], f"{token}x", door.tokens.sign(claims)):
        question = {"token": invalid_token, "decisionId": "d"}
        answer = ask(door, "POST", "/v1/explain", json=question)
        assert (answer.status_code, answer.json()["error"]["field"]) == (401, "token")
    expiry_s = token_answer.json()["expires_at"] / 1000 + 1
    with patch("itsdangerous.timed.time.time", lambda: expiry_s):
        answer = ask(door, "POST", "/v1/explain", json={"token": token, "decisionId": "d"})
    assert answer.status_code == 401
