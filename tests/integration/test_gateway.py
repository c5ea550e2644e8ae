"""The gateway's routes on a real stack: acknowledgements, decisions, outcomes, health."""

import gzip
import json
import re
from typing import Any
from uuid import uuid4

import httpx
import jsonschema
import pytest

from pipeline.adapters.kafka import partition_for_key
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.interaction import Identifier, Interaction
from tests.support.readme import metrics_document
from tests.support.stack import Stack, eventually, stopped

WRITE_KEY = "test-app-key"
_TRACE_ID = "0af7651916cd43dd8448eb211c80319c"

_MESSAGES: dict[str, dict[str, Any]] = {
    "track": {"event": "Viewed", "properties": {"cart": {"total": 9.5}, "tags": ["a", "b"]}},
    "identify": {"traits": {"email": "{email}", "plan": "gold"}},
    "page": {"name": "home", "category": "shop"},
    "screen": {"name": "cart"},
    "group": {"groupId": "g-1", "traits": {"employees": 3}},
    "alias": {"previousId": "{cookie}"},
}


class GatewayCustomer:
    """Customer of one test."""

    def __init__(self) -> None:
        self.name = uuid4().hex[:12]
        self.id = f"c-{self.name}"
        self.email = f"{self.name}@example.com"
        self.cookie = f"k-{self.name}"

    def message(self, kind: str = "track", **fields: Any) -> dict[str, Any]:
        text = json.dumps(_MESSAGES[kind])
        for name in ("email", "cookie"):
            text = text.replace(f"{{{name}}}", str(getattr(self, name)))
        return {"userId": self.id, "messageId": f"m-{uuid4()}", **json.loads(text), **fields}


@pytest.fixture
def customer() -> GatewayCustomer:
    return GatewayCustomer()


@pytest.fixture
def client(stack: Stack) -> httpx.Client:
    return stack.client(WRITE_KEY)


def test_answer_200_means_that_kafka_has_the_message_under_its_key(
    stack: Stack, client: httpx.Client, customer: GatewayCustomer
) -> None:
    messages = {kind: customer.message(kind) for kind in _MESSAGES}
    for kind, message in messages.items():
        traceparent = f"00-{_TRACE_ID}-b7ad6b7169203331-01"
        answer = client.post(f"/v1/{kind}", json=message, headers={"traceparent": traceparent})
        assert (answer.status_code, answer.json()) == (200, {"success": True})

    kinds_by_id = {message["messageId"]: kind for kind, message in messages.items()}
    records = stack.records.read_all(topics.INTERACTIONS, Interaction)
    written_records = {
        kinds_by_id[interaction.event_id]: (entry, interaction)
        for entry, interaction in records
        if interaction.event_id in kinds_by_id
    }
    assert written_records.keys() == messages.keys()
    key = f"customer_id:{customer.id}"
    for kind, (entry, interaction) in written_records.items():
        assert (entry.key, entry.partition) == (key, partition_for_key(key, 3))
        assert dict(entry.headers)["traceparent"].startswith(f"00-{_TRACE_ID}-".encode())
        assert (interaction.kind, interaction.source, interaction.channel) == (kind, "app", "web")
    assert written_records["track"][1].properties == {"cart.total": 9.5}
    assert written_records["track"][1].lists == {"tags": ("a", "b")}
    assert written_records["page"][1].name == "home"
    assert Identifier("email", customer.email) in written_records["identify"][1].identifiers
    assert Identifier("cookie", customer.cookie) in written_records["alias"][1].identifiers


@pytest.mark.parametrize(
    "form",
    [
        {"auth": httpx.BasicAuth(WRITE_KEY, "")},
        {"headers": {"Authorization": f"Bearer {WRITE_KEY}"}},
        {"key": WRITE_KEY},
        {"key": WRITE_KEY, "headers": {"Content-Type": "text/plain; charset=utf-8"}},
        {"key": WRITE_KEY, "headers": {"Content-Encoding": "gzip"}},
    ],
    ids=["basic", "bearer", "in the body", "from a browser", "gzip"],
)
def test_key_and_body_are_accepted_in_every_form(
    stack: Stack, customer: GatewayCustomer, form: dict[str, Any]
) -> None:
    message = customer.message("track")
    if "key" in form:
        message["writeKey"] = form["key"]
    headers = {"Content-Type": "application/json", **form.get("headers", {})}
    body = json.dumps(message).encode()
    if headers.get("Content-Encoding") == "gzip":
        body = gzip.compress(body)
    answer = httpx.post(
        f"{stack.url}/v1/track", content=body, headers=headers, auth=form.get("auth"), timeout=30
    )
    assert answer.status_code == 200, answer.text
    assert len(stack.interactions(message["messageId"])) == 1


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import"])
def test_good_items_of_a_batch_go_on_and_bad_ones_are_named(
    stack: Stack, client: httpx.Client, customer: GatewayCustomer, path: str
) -> None:
    valid_message = customer.message("track", type="track")
    nameless_message = {"type": "track", "event": "Viewed", "messageId": f"n-{customer.name}"}
    answer = client.post(path, json={"batch": [valid_message, nameless_message, {"type": "dance"}]})
    assert answer.status_code == 200
    refusals = [(item["index"], item["field"]) for item in answer.json()["rejected"]]
    assert refusals == [(1, "userId"), (2, "type")]
    assert len(stack.interactions(valid_message["messageId"])) == 1
    assert not stack.interactions(nameless_message["messageId"])
    *_, letter = stack.ask("dlq", "list", "--stage", "gateway", "--reason", "missing_identifier")
    assert stack.ask("dlq", "show", letter["id"])["value"] == nameless_message

    refusal = client.post(path, json={"batch": [nameless_message]})
    assert refusal.status_code == 400
    assert refusal.json()["error"]["field"] == "userId"


def test_answer_is_503_while_kafka_is_away_and_200_afterwards(
    stack: Stack, client: httpx.Client, customer: GatewayCustomer
) -> None:
    message = customer.message("track")
    with stopped(stack.broker()):
        answer = client.post("/v1/track", json=message)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "unavailable"
        assert int(answer.headers["Retry-After"]) >= 1
    eventually(lambda: client.post("/v1/track", json=message).status_code == 200)
    assert stack.interactions(message["messageId"])
    stack.wait_until_idle()
    profile = wait_for_profile(stack, "customer_id", customer.id)
    assert profile["traits"]["interactions"] == 1


def test_decision_is_answered_before_the_default(
    client: httpx.Client, customer: GatewayCustomer
) -> None:
    answers = [decide(client, customer, "hero", "banner") for _ in range(3)]
    choices = [answer["placements"]["hero"] for answer in answers]
    assert [choice and choice["content"]["title"] for choice in choices] == ["Hello", "Again", None]
    assert [answer["placements"]["banner"] for answer in answers] == [None, None, None]
    assert not any(answer["defaulted"] for answer in answers)
    assert len({answer["decision_id"] for answer in answers}) == 3


def test_default_is_answered_after_the_budget_and_the_late_decision_expires(
    stack: Stack, client: httpx.Client, customer: GatewayCustomer
) -> None:
    decide(client, customer)
    with stopped(stack.process("worker-decisioning-0")):
        default_answer = decide(client, customer, "hero", budget_ms=200)
        assert default_answer == {
            "decision_id": None,
            "placements": {"hero": None},
            "defaulted": True,
            "reason": "out_of_time",
        }

    def find_expired_interactions() -> list[Interaction]:
        records = stack.records.read_all(topics.INTERACTIONS, Interaction)
        identifier = Identifier("customer_id", customer.id)
        return [
            interaction
            for _, interaction in records
            if interaction.name == "expired" and identifier in interaction.identifiers
        ]

    [outcome] = eventually(find_expired_interactions)
    assert (outcome.kind, outcome.source) == ("outcome", "kairos")
    assert outcome.properties["offer"] == "hello"
    stack.wait_until_idle()
    placement = decide(client, customer, "hero")["placements"]["hero"]
    assert placement["offer"] == "hello", "the cap was not released"


def test_outcomes_change_the_contact_history_and_forged_ones_do_not(
    stack: Stack, client: httpx.Client, customer: GatewayCustomer
) -> None:
    token = decide(client, customer, "hero")["placements"]["hero"]["token"]
    middle = len(token) // 2
    forgery = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    for bad_token in (forgery, "made-up", ""):
        answer = client.post("/v1/outcomes", json={"token": bad_token, "outcome": "bounce"})
        assert answer.status_code == 400
        assert answer.json()["error"]["field"] == "token"
    refusal = client.post("/v1/outcomes", json={"token": token, "outcome": "loved"})
    assert refusal.json()["error"]["field"] == "outcome"
    assert read_contacts(stack, client, customer) == [("hello", "reserved")]

    batch = {"outcomes": [{"token": token, "outcome": "click"}] * 2}
    assert client.post("/v1/outcomes", json=batch).json() == {"success": True}
    assert read_contacts(stack, client, customer) == [("hello", "committed")]


def test_gateway_is_ready_only_while_every_stage_answers(stack: Stack) -> None:
    with stack.client(WRITE_KEY) as client:
        assert eventually(lambda: _readiness(client, 200)) == {"ready": True, "missing": []}
        with stopped(stack.process("worker-segmentation-0")):
            # A probe that was on its way as the worker stopped may have come through.
            eventually(lambda: len((_readiness(client, 503) or {"missing": ()})["missing"]) == 3)
            assert client.get("/healthz").status_code == 200
        assert eventually(lambda: _readiness(client, 200)) == {"ready": True, "missing": []}


def _readiness(client: httpx.Client, status: int) -> dict[str, Any] | None:
    """Return the body of `/readyz` when it answers with `status`, None otherwise."""
    answer = client.get("/readyz")
    return answer.json() if answer.status_code == status else None


def test_exposed_metrics_are_the_documented_ones(
    client: httpx.Client, customer: GatewayCustomer
) -> None:
    client.post("/v1/track", json=customer.message("track"))
    client.post("/v1/track", json={})
    text = client.get("/metrics").text
    metric_names = re.findall(r"^# TYPE (kairos_\w+) ", text, re.MULTILINE)
    rows = re.findall(r"^\| `(kairos_gateway_\w+)` \|", metrics_document(), re.MULTILINE)
    assert {name for name in metric_names if not name.endswith("_created")} == set(rows)
    assert 'kairos_gateway_requests_total{route="/v1/track",status="200"}' in text
    assert 'kairos_gateway_rejected_total{code="missing_field"}' in text


def test_answers_conform_to_the_openapi_document(
    client: httpx.Client, customer: GatewayCustomer
) -> None:
    api = client.get("/openapi.json").json()
    assert api["openapi"].startswith("3.1")
    shapes = api["components"]["schemas"]
    for shape in shapes.values():
        jsonschema.Draft202012Validator.check_schema(shape)
    assert set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(api))) <= shapes.keys()

    message = customer.message("track")
    visit = customer.message("page", type="page")  # the tracked event itself gets no decision
    question = {"interaction": visit, "placements": ["hero"]}
    exchanges = [
        ("/v1/track", message),
        ("/v1/batch", {"batch": [{**message, "type": "track"}, {}]}),
        ("/v1/decide", question),
        ("/v1/decide", {**question, "placements": []}),
        ("/v1/outcomes", {"token": "made-up", "outcome": "click"}),
        ("/v1/track", {}),
    ]
    for path, body in exchanges:
        operation = api["paths"][path]["post"]
        answer = client.post(path, json=body)
        [media_type] = operation["responses"][str(answer.status_code)]["content"].values()
        whole_schema = {"$defs": shapes, **media_type["schema"]}
        text = json.dumps(whole_schema).replace("#/components/schemas/", "#/$defs/")
        jsonschema.validate(answer.json(), json.loads(text))


def decide(
    client: httpx.Client, customer: GatewayCustomer, *placements: str, **fields: Any
) -> dict[str, Any]:
    """Return the answer for `placements`, by default for `banner`, for which nothing is offered."""
    message = {**customer.message("page"), "type": "page"}
    body = {"interaction": message, "placements": placements or ("banner",), **fields}
    answer = client.post("/v1/decide", json=body)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def read_contacts(
    stack: Stack, client: httpx.Client, customer: GatewayCustomer
) -> list[tuple[str, str]]:
    """Return the offers of the customer's contacts with their status, as the next decision sees
    them."""
    decision_id = decide(client, customer)["decision_id"]

    def find_written_decision() -> Decision | None:
        decisions = stack.records.read_all(topics.DECISIONS, Decision)
        return next(
            (decision for _, decision in decisions if decision.decision_id == decision_id), None
        )

    return [
        (contact.offer, contact.status) for contact in eventually(find_written_decision).contacts
    ]


def wait_for_profile(stack: Stack, namespace: str, value: str) -> dict[str, Any]:
    """Return the profile, once the gateway has it."""
    with stack.client("test-office-key") as office:

        def get_profile() -> dict[str, Any] | None:
            answer = office.get(f"/v1/profiles/{namespace}/{value}")
            return answer.json() if answer.status_code == 200 else None

        return eventually(get_profile)
