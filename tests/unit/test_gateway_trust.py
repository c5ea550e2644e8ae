"""Limits of a public key at every route, and the pipeline's outputs for its interactions."""

import hashlib
import hmac
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from pipeline.config import model
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.flow import Flow
from pipeline.model.decision import Action, Reply
from pipeline.model.interaction import DecideRequest, Identifier
from pipeline.rules import Rules
from pipeline.rules.token import TokenKey
from tests.support.doorway import Doorway, configuration, doorway

SHOP_KEY, WEB_KEY, OPEN_KEY = "server-key-1", "public-key-1", "public-key-2"
SECRET = "a secret of the web source"
ANA = Identifier("customer_id", "ana")
MAIL = Identifier("email", "evil@example.com")
COOKIE = Identifier("cookie", "thief")

_ORDERS = model.ProfileRules((model.TraitDefinition("orders", "count", when={"name": "Order"}),))
_CAMPAIGNS = (
    model.Campaign(
        "thanks",
        (model.Offer("thanks", 5.0, (model.Treatment("mail", "email", address="email"),)),),
        trigger={"name": "Order"},
        purpose="transactional",
    ),
    model.Campaign(
        "vip",
        (model.Offer("vip", 5.0, (model.Treatment("hero", "web", placement="hero"),)),),
        audience={"trait": "orders", "gte": 1},
    ),
)


def sources(**web: Any) -> tuple[model.Source, ...]:
    return (
        model.Source("shop", "web", SHOP_KEY),
        model.Source("web", "web", WEB_KEY, trust="public", **{"secret": "${WEB_SECRET}", **web}),
    )


@pytest.fixture(autouse=True)
def set_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_SECRET", SECRET)


@pytest.fixture
def config() -> Configuration:
    return configuration(*sources(), profile=_ORDERS, campaigns=_CAMPAIGNS)


@pytest.fixture
def door(config: Configuration, tmp_path: Path) -> Doorway:
    return doorway(config, tmp_path)


def post(door: Doorway, key: str, path: str, body: dict[str, Any]) -> httpx.Response:
    return door.request("POST", path, key, json=body)


def sign(user: str, secret: str = SECRET) -> dict[str, str]:
    return {"proof": hmac.new(secret.encode(), user.encode(), hashlib.sha256).hexdigest()}


CLAIMS: dict[str, dict[str, Any]] = {
    "userId": {"userId": "ana"},
    "email in traits": {"traits": {"email": MAIL.value}},
    "email in context.traits": {"context": {"traits": {"email": MAIL.value}}},
    "phone": {"traits": {"phone": "+34600111222"}},
    "external id": {"context": {"externalIds": [{"type": "customer_id", "id": "ana"}]}},
    "external address": {"context": {"externalIds": [{"type": "email", "id": MAIL.value}]}},
    "previousId": {"previousId": "ana"},
    "two user ids": {"userId": "ana", "previousId": "bob", "context": {}},
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
@pytest.mark.parametrize("kind", ["identify", "track", "page", "group", "alias", "screen"])
def test_claim_of_a_public_key_stays_with_its_device(
    door: Doorway, kind: str, claim: dict[str, Any]
) -> None:
    message = {"anonymousId": "thief", "event": "Viewed", "groupId": "g", **claim}
    if kind == "alias":
        message = {"previousId": "thief", **message}
    assert post(door, WEB_KEY, f"/v1/{kind}", message).status_code == 200
    batch = {"batch": [{"type": kind, **message}], "context": message.get("context", {})}
    assert post(door, WEB_KEY, "/v1/batch", batch).status_code == 200
    question = {"interaction": {"type": kind, **message}, "placements": ["hero"]}
    assert post(door, WEB_KEY, "/v1/decide", question).status_code == 200
    interactions = door.interactions()
    assert len(interactions) == 3
    for interaction in interactions:
        assert COOKIE in interaction.identifiers
        assert {identifier.namespace for identifier in interaction.identifiers} == {"cookie"}


def test_traits_of_a_public_key_stay_with_the_device(door: Doorway) -> None:
    message = {"anonymousId": "thief", "traits": {"email": MAIL.value, "plan": "gold"}}
    post(door, WEB_KEY, "/v1/identify", message)
    [interaction] = door.interactions()
    assert interaction.properties == {"email": MAIL.value, "plan": "gold"}


def test_proof_is_of_the_user_id_alone(door: Doorway) -> None:
    message = {
        "userId": "ana",
        "anonymousId": "mine",
        "previousId": "bob",
        "traits": {"email": MAIL.value},
        "context": sign("ana"),
    }
    for kind in ("identify", "alias"):
        assert post(door, WEB_KEY, f"/v1/{kind}", message).status_code == 200
    for interaction in door.interactions():
        assert interaction.identifiers[0] == ANA
        assert {identifier.namespace for identifier in interaction.identifiers[1:]} == {"cookie"}
        assert Identifier("customer_id", "bob") not in interaction.identifiers


@pytest.mark.parametrize(
    "proof",
    [sign("bob"), sign("ana", "another secret"), {"proof": ""}, {"proof": "ñ"}, sign("ana ")],
)
def test_wrong_proof_is_refused(door: Doorway, proof: dict[str, str]) -> None:
    message = {"userId": "ana", "anonymousId": "thief", "context": proof}
    answer = post(door, WEB_KEY, "/v1/identify", message)
    assert answer.status_code == 403
    assert answer.json()["error"]["field"] == "context.proof"
    assert not door.interactions()


def test_proof_that_cannot_be_checked_is_refused_until_it_can(
    door: Doorway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WEB_SECRET")
    message = {"userId": "ana", "anonymousId": "mine", "context": sign("ana")}
    answer = post(door, WEB_KEY, "/v1/identify", message)
    assert answer.status_code == 503
    assert "${WEB_SECRET}" in answer.json()["error"]["message"]


def test_batch_with_a_proof_that_cannot_be_checked_is_refused_until_it_can(
    door: Doorway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WEB_SECRET")
    view = {"type": "track", "event": "Viewed", "anonymousId": "mine"}
    claim = {**view, "userId": "ana", "context": sign("ana")}
    answer = post(door, WEB_KEY, "/v1/batch", {"batch": [view, claim]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert not door.interactions()


def test_claim_without_a_device_is_refused_by_name(door: Doorway) -> None:
    for body in ({"userId": "ana", "event": "Viewed"}, {"userId": "new", "event": "Viewed"}):
        answer = post(door, WEB_KEY, "/v1/track", body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["field"]) == (
            403,
            "proof_required",
            "userId",
        )
    assert not door.interactions()


def test_identifiers_of_a_trusted_key_are_accepted(door: Doorway) -> None:
    message = {"userId": "ana", "traits": {"email": "ana@example.com"}, "context": {"proof": "x"}}
    assert post(door, SHOP_KEY, "/v1/identify", message).status_code == 200
    [interaction] = door.interactions()
    assert interaction.identifiers == (ANA, Identifier("email", "ana@example.com"))


def run_pipeline(door: Doorway, config: Configuration) -> list[Any]:
    """Return the pipeline's outputs for all interactions that the gateway has written."""
    flow = Flow(Rules(config, TokenKey("test" * 8), 300_000))
    return [emit.value for interaction in door.interactions() for emit in flow.run(interaction)]


def test_order_is_confirmed_to_the_address_that_the_shop_sent(
    door: Doorway, config: Configuration
) -> None:
    forged_message = {"userId": "ana", "anonymousId": "thief", "traits": {"email": MAIL.value}}
    shop_message = {"userId": "ana", "traits": {"email": "ana@example.com"}}
    alias = {"userId": "ana", "previousId": "thief"}
    posts = [
        (WEB_KEY, "identify", forged_message),
        (SHOP_KEY, "identify", shop_message),
        (WEB_KEY, "identify", forged_message),
        (WEB_KEY, "alias", {**alias, "anonymousId": "thief"}),
        (SHOP_KEY, "track", {"userId": "ana", "event": "Order"}),
    ]
    for key, kind, body in posts:
        assert post(door, key, f"/v1/{kind}", body).status_code == 200
    actions = [output for output in run_pipeline(door, config) if isinstance(output, Action)]
    assert [action.address for action in actions] == ["ana@example.com"]


@pytest.mark.parametrize(("proof", "offer"), [({}, None), (sign("ana"), "vip")])
def test_offers_are_shown_to_a_proven_customer(
    door: Doorway, config: Configuration, proof: dict[str, str], offer: str | None
) -> None:
    order = {"userId": "ana", "traits": {"email": "ana@example.com"}, "event": "Order"}
    assert post(door, SHOP_KEY, "/v1/track", order).status_code == 200
    visit = {"type": "page", "userId": "ana", "anonymousId": "c", "context": proof}
    question = {"interaction": visit, "placements": ["hero"]}
    assert post(door, WEB_KEY, "/v1/decide", question).status_code == 200
    [reply] = [output for output in run_pipeline(door, config) if isinstance(output, Reply)]
    [answer] = reply.answers
    assert (answer.action and answer.action.offer) == offer


def test_shop_without_a_trusted_source_needs_no_proof(tmp_path: Path) -> None:
    sources_without_trust = (
        model.Source("open", "web", OPEN_KEY, trust="public"),
        model.Source("adapters", "email", "adapters-key-1"),
    )
    door = doorway(configuration(*sources_without_trust), tmp_path)
    message = {"userId": "ana", "anonymousId": "mine", "traits": {"email": "ana@example.com"}}
    assert post(door, OPEN_KEY, "/v1/identify", message).status_code == 200
    [interaction] = door.interactions()
    assert interaction.identifiers[0] == ANA
    assert len(interaction.identifiers) == 3


def test_namespaces_that_a_public_source_may_assert_are_a_setting(tmp_path: Path) -> None:
    door = doorway(configuration(*sources(asserts=("cookie", "email"))), tmp_path)
    message = {"userId": "ana", "anonymousId": "thief", "traits": {"email": MAIL.value}}
    assert post(door, WEB_KEY, "/v1/identify", message).status_code == 200
    [interaction] = door.interactions()
    assert interaction.identifiers == (MAIL, COOKIE)


def test_device_that_messages_are_addressed_to_is_not_asserted() -> None:
    push = model.Treatment("push", "web", address="device")
    campaign = model.Campaign("c", (model.Offer("o", 1.0, (push,)),), trigger={"name": "Order"})
    push_configuration = configuration(*sources(), campaigns=(campaign,))
    assert push_configuration.restrictions["web"].asserts == {"cookie"}
    assert configuration(*sources()).restrictions["web"].asserts == {"cookie", "device"}


@pytest.mark.parametrize(
    ("source", "field"),
    [
        (model.Source("web", "web", WEB_KEY, trust="public", clock="log"), "trust"),
        (model.Source("adapters", "web", WEB_KEY, trust="public"), "trust"),
        (model.Source("web", "web", WEB_KEY, trust="public", asserts=("tax",)), "asserts"),
        (model.Source("web", "web", WEB_KEY, secret="s"), "secret"),
        (model.Source("web", "web", WEB_KEY, asserts=("cookie",)), "asserts"),
    ],
)
def test_contradictory_sources_are_refused(source: model.Source, field: str) -> None:
    bundle = configuration(model.Source("shop", "web", SHOP_KEY)).bundle
    bad_bundle = replace(bundle, sources=model.Sources((source,)))
    problems = compile_bundle(bad_bundle)
    assert isinstance(problems, tuple)
    assert field in problems[0].path


def test_decide_request_of_a_public_key_stays_with_its_device(door: Doorway) -> None:
    question = {
        "interaction": {"type": "page", "userId": "ana", "anonymousId": "thief"},
        "placements": ["hero"],
    }
    post(door, WEB_KEY, "/v1/decide", question)
    [interaction] = door.interactions()
    assert isinstance(interaction.request, DecideRequest)
    assert interaction.identifiers == (COOKIE,)
