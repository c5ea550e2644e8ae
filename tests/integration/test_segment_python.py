"""Segment's own Python client, pointed at the gateway."""

from uuid import uuid4

from segment.analytics.client import Client

from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.interaction import Interaction
from tests.support.stack import Stack, eventually, stopped

WRITE_KEY = "test-app-key"
_COUNT = 120


def _client(stack: Stack) -> Client:
    return Client(WRITE_KEY, host=stack.url, timeout=10, max_retries=8, upload_interval=0.1)


def test_every_kind_of_message_arrives(stack: Stack) -> None:
    customer_id, cookie = f"c-{uuid4().hex[:12]}", f"k-{uuid4().hex[:12]}"
    client = _client(stack)
    client.identify(customer_id, {"email": f"{customer_id}@example.com"}, anonymous_id=cookie)
    client.track(customer_id, "Viewed", {"total": 9.5})
    client.page(customer_id, "shop", "home")
    client.screen(customer_id, "app", "cart")
    client.group(customer_id, "g-1", {"employees": 3})
    client.alias(cookie, customer_id)
    client.shutdown()
    records = stack.records.read_all(topics.INTERACTIONS, Interaction)
    kinds = [
        interaction.kind
        for _, interaction in records
        if any(i.value == customer_id for i in interaction.identifiers)
    ]
    assert sorted(kinds) == ["alias", "group", "identify", "page", "screen", "track"]


def test_messages_refused_by_kafka_are_sent_again_and_count_once(stack: Stack) -> None:
    customer_id = f"c-{uuid4().hex[:12]}"
    client = _client(stack)
    [accepted_count], refused_count = stack.count_accepted("track"), stack.count_turned_away()
    with stopped(stack.broker()):
        sent_ids = [client.track(customer_id, "Viewed")[1]["messageId"] for _ in range(_COUNT)]
        eventually(lambda: stack.count_turned_away() > refused_count)
    client.flush()
    client.shutdown()
    assert stack.count_accepted("track") == [accepted_count + _COUNT]
    stack.wait_until_idle()
    decided_ids = (
        record.event_id for _, record in stack.records.read_all(topics.DECISIONS, Decision)
    )
    assert sorted(event_id for event_id in decided_ids if event_id in set(sent_ids)) == sorted(
        sent_ids
    )
    profile = stack.ask("profile", "show", f"customer_id:{customer_id}")
    assert profile["traits"]["interactions"] == _COUNT
