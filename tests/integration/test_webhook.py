"""The webhook adapter against a real HTTP server."""

import shutil
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from pipeline.adapters.clock import now_ms
from pipeline.adapters.snapshots import StoredRecord
from pipeline.model import topics
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.decision import Action
from pipeline.model.interaction import Interaction
from tests.support.receiver import NO_ANSWER, PlannedAnswer, Post, Receiver
from tests.support.stack import Stack, eventually, stopped

WRITE_KEY = "test-app-key"
_TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def email() -> str:
    return f"{uuid4().hex[:12]}@example.com"


def _send_order(stack: Stack, email: str, headers: dict[str, str] | None = None) -> None:
    message = {
        "event": "Order",
        "userId": f"c-{email}",
        "context": {"traits": {"email": email}},
        "properties": {"total": 5},
    }
    with stack.client(WRITE_KEY) as client:
        assert client.post("/v1/track", json=message, headers=headers).status_code == 200


def _send_ping(stack: Stack, device: str) -> None:
    """Send an event whose push expires after two seconds."""
    message = {"event": "Ping", "userId": f"c-{device}", "context": {"device": {"id": device}}}
    with stack.client(WRITE_KEY) as client:
        assert client.post("/v1/track", json=message).status_code == 200


def _ping_until_posted(
    stack: Stack, receiver: Receiver, *answers: PlannedAnswer
) -> tuple[str, Post]:
    """Return a device and the first post for it. Try again with another device if nothing is posted
    in time, as on a busy machine."""
    for _ in range(5):
        device = uuid4().hex
        receiver.prepare(device, *answers)
        _send_ping(stack, device)
        with suppress(AssertionError):
            return device, eventually(lambda: receiver.posts(device), 10.0)[0]  # noqa: B023
    pytest.fail("nothing was ever posted in time")


def _email_actions(stack: Stack, email: str) -> list[Action]:
    actions = stack.records.read_all(topics.actions("email"), Action)
    return [action for _, action in actions if action.address == email]


def _outcome_names(stack: Stack, action_id: str) -> list[str]:
    records = stack.records.read_all(topics.INTERACTIONS, Interaction)
    return [
        interaction.name
        for _, interaction in records
        if interaction.kind == "outcome" and interaction.properties.get("action_id") == action_id
    ]


def _outcome_traceparent(stack: Stack, action_id: str) -> str | None:
    """Return the traceparent of an action's outcome, None before there is one."""
    for entry, interaction in stack.records.read_all(topics.INTERACTIONS, Interaction):
        if interaction.kind == "outcome" and interaction.properties.get("action_id") == action_id:
            return (dict(entry.headers)["traceparent"] or b"").decode()
    return None


def test_busy_receiver_gets_a_repeat_with_the_same_key(
    stack: Stack, receiver: Receiver, email: str
) -> None:
    receiver.prepare(email, PlannedAnswer(503), PlannedAnswer(429, {"Retry-After": "1"}))
    _send_order(stack, email, {"traceparent": f"00-{_TRACE}-{1:016x}-01"})
    posts = eventually(lambda: posts if len(posts := receiver.posts(email)) == 3 else None)
    assert len({post.key for post in posts}) == 1
    assert posts[2].at - posts[1].at >= 1.0
    assert posts[0].action["content"] == {"text": "Order 1"}
    assert eventually(lambda: _outcome_names(stack, posts[0].key)) == ["sent"]
    hops = [post.headers["traceparent"] for post in posts]
    hops.append(eventually(lambda: _outcome_traceparent(stack, posts[0].key)))
    assert {hop[:36] for hop in hops} == {f"00-{_TRACE}-"}
    assert len(set(hops)) == len(hops)


def test_answer_whose_body_cannot_be_read_counts_by_its_status(
    stack: Stack, receiver: Receiver, email: str
) -> None:
    receiver.prepare(email, PlannedAnswer(200, {"Content-Encoding": "gzip"}, b"this is not gzip"))
    _send_order(stack, email)
    [post] = eventually(lambda: receiver.posts(email))
    assert eventually(lambda: _outcome_names(stack, post.key)) == ["sent"]
    assert receiver.posts(email) == [post]


def test_refused_action_frees_its_place_in_the_cap(
    stack: Stack, receiver: Receiver, email: str
) -> None:
    receiver.prepare(email, PlannedAnswer(410))
    _send_order(stack, email)
    [first_post] = eventually(lambda: receiver.posts(email))
    assert eventually(lambda: _outcome_names(stack, first_post.key)) == ["bounce"]
    stack.wait_until_idle()
    _send_order(stack, email)
    posts = eventually(lambda: posts if len(posts := receiver.posts(email)) == 2 else None)
    assert posts[1].key != first_post.key
    stack.wait_until_idle()
    _send_order(stack, email)  # the second post used the cap of one a day
    stack.wait_until_idle()
    assert len(receiver.posts(email)) == 2


def test_delivered_actions_stay_delivered_when_the_adapter_is_killed(
    stack: Stack, receiver: Receiver, email: str
) -> None:
    _send_order(stack, email)
    [post] = eventually(lambda: receiver.posts(email))
    assert eventually(lambda: _outcome_names(stack, post.key)) == ["sent"]
    stack.restart("adapter-webhook-0")
    stack.wait_until_idle()
    assert {post.key for post in receiver.posts(email)} == {post.key}
    assert set(_outcome_names(stack, post.key)) == {"sent"}


def test_record_that_is_no_action_is_a_dead_letter_under_its_own_key(stack: Stack) -> None:
    key, original = uuid4().hex, b"no Avro at all"
    producer = Producer({**stack.settings.kafka(), "partitioner": "murmur2_random"})
    producer.produce(topics.actions("email"), original, key, headers=[("origin", b"a test")])
    assert producer.flush(30) == 0
    stack.wait_until_idle()
    [letter] = [
        letter
        for entry, letter in stack.records.read_all(topics.DEAD_LETTERS, DeadLetterRecord)
        if entry.key == key
    ]
    assert (letter.stage, letter.reason) == ("adapter.webhook", "not-confluent-framing")
    assert (letter.topic, letter.key, letter.value) == ("actions.email", key.encode(), original)
    assert letter.headers == {"origin": b"a test"}


def test_actions_expire_at_their_deadline(stack: Stack, receiver: Receiver) -> None:
    device, post = _ping_until_posted(stack, receiver, PlannedAnswer(503, {"Retry-After": "60"}))
    assert eventually(lambda: _outcome_names(stack, post.key)) == ["expired"]
    stack.wait_until_idle()
    assert receiver.posts(device) == [post]


def test_action_that_may_have_been_taken_is_not_reported_as_expired(
    stack: Stack, receiver: Receiver
) -> None:
    device, first_post = _ping_until_posted(stack, receiver, *[NO_ANSWER] * 20)
    assert eventually(lambda: _outcome_names(stack, first_post.key)) == ["sent"]
    assert {post.key for post in receiver.posts(device)} == {first_post.key}


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("${TEST_NOT_SET}/email", id="a variable is not set"),
        pytest.param("http://127.0.0.1:9${TEST_SIGNING_SECRET}/email", id="no port"),
    ],
)
def test_actions_that_wait_for_a_bad_url_are_delivered_once_it_is_fixed(
    stack: Stack, receiver: Receiver, email: str, tmp_path: Path, url: str
) -> None:
    broken_folder = Path(shutil.copytree(stack.configuration, tmp_path / "broken"))
    channels = (broken_folder / "channels.yaml").read_text()
    assert "${TEST_RECEIVER}/email" in channels
    (broken_folder / "channels.yaml").write_text(channels.replace("${TEST_RECEIVER}/email", url))
    broken_stack = Stack(
        stack.home, broken_folder, {}
    )  # `config apply` cannot see that the URL is wrong
    try:
        broken_stack.kairos("config", "apply", str(broken_folder))
        _send_order(stack, email)
        action = eventually(lambda: _email_actions(stack, email))[0]
        with pytest.raises(AssertionError, match="not within"):
            eventually(
                lambda: receiver.posts(email) or _outcome_names(stack, action.action_id), 3.0
            )
    finally:
        stack.ask("config", "apply", str(stack.configuration))
    [post] = eventually(lambda: receiver.posts(email))
    assert post.key == action.action_id
    assert eventually(lambda: _outcome_names(stack, post.key)) == ["sent"]


def test_action_found_after_its_deadline_is_not_posted(stack: Stack, receiver: Receiver) -> None:
    device = uuid4().hex

    def find_decided_actions() -> list[tuple[StoredRecord, Action]]:
        actions = stack.records.read_all(topics.actions("push"), Action)
        return [pair for pair in actions if pair[1].address == device]

    with stopped(stack.process("adapter-webhook-0")):
        _send_ping(stack, device)
        [(entry, action)] = eventually(find_decided_actions)
        deadline_ms = entry.timestamp + action.deadline_at - action.created_at
        eventually(lambda: now_ms() > deadline_ms)
    assert eventually(lambda: _outcome_names(stack, action.action_id)) == ["expired"]
    stack.wait_until_idle()
    assert not receiver.posts(device)
