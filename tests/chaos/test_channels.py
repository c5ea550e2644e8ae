"""Every adapter under kills and bad receivers: no message is lost or reaches a customer twice.

A mail server, a provider and a printer that recognise no repeats get a message at most once, and
a message of unknown fate counts as sent; receivers that recognise repeats get a message until they
confirm it. Post-backs of a provider or a mail server count once, however often they are posted. The
broker is killed, too.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from pipeline.adapters.broker.ports import find_free_port
from pipeline.delivery.push.trial import new_key
from pipeline.model import topics
from pipeline.model.decision import Action
from pipeline.model.interaction import Interaction
from pipeline.model.stages import Segmented
from pipeline.stack.control import StackError
from tests.chaos.bad_servers import PROVIDER_SECRET, BadServers
from tests.chaos.killing import SEED, kills, short_stops
from tests.support.stack import Stack, eventually, running_stack

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

CUSTOMERS = 60
_CONFIGURATION = Path(__file__).parent / "channels"
_ADAPTERS = tuple(f"adapter-{kind}-0" for kind in ("email", "pos", "push", "sms", "webhook"))
_GATEWAY = "gateway"
_EVENTS = ("Order", "Ship", "Remind", "Note", "Notify", "Collect")
_PLAIN_CHANNELS = ("mail", "sms", "counter")
"""Channels whose receivers recognise no repeats."""

_KEYED_CHANNELS = ("text", "hook", "push")
_RUN_S = 30.0
_REPORT_S = 180.0

Outcomes = dict[str, list[Interaction]]


class _ChannelWorld:
    """Stack, and the servers around it."""

    def __init__(self, stack: Stack, servers: BadServers) -> None:
        self.stack = stack
        self.servers = servers

    def actions(self, channel: str) -> dict[str, Action]:
        """Return the actions of a channel by their id."""
        actions = self.stack.records.read_all(topics.actions(channel), Action)
        return {action.action_id: action for _, action in actions}

    def is_complete(self) -> bool:
        """Return whether every channel has all its actions, every action has an outcome, and the
        gateway has accepted every post-back."""
        reported_ids = {
            str(interaction.properties["action_id"])
            for _, interaction in self.stack.records.read_all(topics.INTERACTIONS, Interaction)
            if interaction.kind == "outcome"
        }
        action_ids = [
            set(self.actions(channel)) for channel in (*_PLAIN_CHANNELS, *_KEYED_CHANNELS)
        ]
        has_outcomes = all(len(ids) == CUSTOMERS and ids <= reported_ids for ids in action_ids)
        return has_outcomes and not self.servers.services.open_posts

    def read_interactions(self) -> list[Interaction]:
        """Return the interactions that all stages have processed."""
        records = self.stack.records.read_all(topics.SEGMENTED, Segmented)
        return [
            segmented.interaction for _, segmented in records if segmented.interaction is not None
        ]

    def count_receipts(self) -> dict[str, Counter[str]]:
        """Return how many times receivers that recognise no repeats got each action, by channel."""
        parcels = {
            action.content["text"].removeprefix("Parcel "): action_id
            for action_id, action in self.actions("counter").items()
        }
        return {
            "mail": Counter(mail.action_id for mail in self.servers.mail.mails),
            "sms": Counter(
                {
                    action_id: len(bodies)
                    for action_id, bodies in self.servers.services.plain_bodies.items()
                }
            ),
            "counter": Counter(parcels[parcel] for parcel in self.servers.printer.parcels),
        }

    def keyed_messages(self) -> dict[str, dict[str, list[Any]]]:
        """Return the messages that receivers recognising repeats got, by channel and action."""
        services = self.servers.services
        return {
            "text": services.keyed_bodies,
            "hook": services.hook_bodies,
            "push": services.push_bodies,
        }


@pytest.fixture
def world(tmp_path: Path) -> Iterator[_ChannelWorld]:
    port = find_free_port()
    with BadServers(f"{SEED}/channels", f"http://127.0.0.1:{port}") as servers:
        variables = {
            **servers.ports,
            "KAIROS_GATEWAY_PORT": str(port),
            "KAIROS_PARTITIONS": "2",
            "TEST_GATEWAY_PORT": str(port),
            "TEST_PROVIDER_SECRET": PROVIDER_SECRET,
            "TEST_VAPID": new_key(),
        }
        with running_stack(Stack(tmp_path / "home", _CONFIGURATION, variables)) as stack:
            yield _ChannelWorld(stack, servers)


def test_no_message_is_lost_or_reaches_a_customer_twice(
    world: _ChannelWorld, note: Callable[[str], None]
) -> None:
    random = Random(f"{SEED}/kills")
    names = (*_ADAPTERS, _GATEWAY)
    start_s = time.monotonic()
    with (
        kills(world.stack, names, (0.3, 3.0), random) as kill_counts,
        short_stops(world.stack, names, Random(f"{SEED}/short_stops")),
    ):
        for customer in range(CUSTOMERS):
            _send(world, customer)
            if customer == CUSTOMERS // 4:
                world.stack.broker().kill()
                world.stack.kairos("broker", "start")
            if customer == CUSTOMERS // 2:
                with world.servers.down():
                    time.sleep(3)
        time.sleep(max(0.0, start_s + _RUN_S - time.monotonic()))
    eventually(world.is_complete, _REPORT_S)
    world.stack.wait_until_idle()
    interactions = world.read_interactions()
    outcomes = _outcomes_by_action(interactions)
    note(f"killed: {dict(kill_counts)}; {world.servers.services.posts} posts of providers")
    services = world.servers.services
    _check_returns(outcomes, services.returns)
    for channel, counts in world.count_receipts().items():
        note(_check_plain_channel(channel, world.actions(channel), counts, outcomes))
    for channel, copies in world.keyed_messages().items():
        note(_check_keyed_channel(channel, world.actions(channel), copies, outcomes))
    for action_id in (*services.plain_bodies, *services.keyed_bodies):
        assert _count(outcomes[action_id], "delivered") == 1, action_id
    _check_replies(interactions, services.reply_senders)
    assert kill_counts.total() >= 8


def _check_returns(outcomes: Outcomes, kinds_by_action: dict[str, str]) -> None:
    """Check that each bounce and complaint counts once, however often it was posted; remove these
    from `outcomes`."""
    assert len(kinds_by_action) > CUSTOMERS // 10
    for action_id, kind in kinds_by_action.items():
        assert _count(outcomes[action_id], kind) == 1, (action_id, kind)
        outcomes[action_id] = [outcome for outcome in outcomes[action_id] if outcome.name != kind]


def _check_replies(interactions: list[Interaction], reply_senders: set[str]) -> None:
    """Check that each reply changed consent once, however often it was posted."""
    withdrawals = Counter(
        (interaction.identifiers[0].value, name)
        for interaction in interactions
        if interaction.name == "identify"
        for name in interaction.properties
        if name.endswith(".marketing")
    )
    assert {phone for phone, _ in withdrawals} == reply_senders
    assert set(withdrawals.values()) == {1}
    assert len(reply_senders) == CUSTOMERS // 10


def _send(world: _ChannelWorld, customer: int) -> None:
    """Send the customer's events until the gateway accepts them."""
    customer_id = f"c{customer}"
    prefix = "gone" if customer % 10 == 0 else "c"
    services = world.servers.services
    port = world.servers.ports["TEST_SERVICES_PORT"]
    subscription = services.browser.subscription(f"http://127.0.0.1:{port}/push/{prefix}{customer}")
    message = {
        "type": "track",
        "userId": customer_id,
        "properties": {"customer": customer_id},
        "context": {
            "traits": {
                "email": f"{prefix}{customer}@example.com",
                "phone": f"+346001{customer:05d}",
            },
            "externalIds": [{"type": "push", "id": subscription, "collection": "users"}],
        },
    }
    batch = [{**message, "event": name, "messageId": f"{customer_id}/{name}"} for name in _EVENTS]
    eventually(lambda: _is_accepted(world.stack, batch), _REPORT_S)


def _is_accepted(stack: Stack, batch: list[dict[str, Any]]) -> bool:
    try:
        with stack.client("test-app-key") as client:
            answer = client.post("/v1/batch", json={"batch": batch})
    except (httpx.TransportError, StackError):
        return False
    assert answer.status_code in (200, 503), answer.text
    return answer.status_code == 200


def _outcomes_by_action(interactions: list[Interaction]) -> Outcomes:
    outcomes: defaultdict[str, list[Interaction]] = defaultdict(list)
    for interaction in interactions:
        if interaction.kind == "outcome":
            outcomes[str(interaction.properties["action_id"])].append(interaction)
    return outcomes


def _count(outcomes: list[Interaction], name: str) -> int:
    return sum(outcome.name == name for outcome in outcomes)


def _is_unconfirmed(outcomes: list[Interaction]) -> bool:
    return any("unconfirmed" in outcome.properties for outcome in outcomes)


def _check_plain_channel(
    channel: str, actions: dict[str, Action], counts: Counter[str], outcomes: Outcomes
) -> str:
    """Check a channel whose receivers recognise no repeats; return a line of counts."""
    assert len(actions) == CUSTOMERS, channel
    assert counts.keys() <= actions.keys()
    assert max(counts.values()) == 1, (channel, "twice", counts.most_common(3))
    confirmation_count = 0
    for action_id, action in actions.items():
        reports, is_unknown = outcomes[action_id], (action.address or "").startswith("gone")
        fate = "bounce" if is_unknown else "sent"
        ends = Counter(report.name for report in reports if report.name != "delivered")
        # "sent" is right if the adapter was killed or cut off before it received the refusal.
        if is_unknown and ends == {"sent": 1}:
            assert _is_unconfirmed(reports), (channel, action_id)
            continue
        assert ends == {fate: 1}, (channel, action_id, ends)
        assert is_unknown or action_id in counts or _is_unconfirmed(reports), (
            channel,
            action_id,
            "lost",
        )
        confirmation_count += not _is_unconfirmed(reports)
    assert confirmation_count > CUSTOMERS // 2, (channel, confirmation_count)
    return f"{channel}: {len(counts)} received, {confirmation_count} confirmed, of {CUSTOMERS}"


def _check_keyed_channel(
    channel: str, actions: dict[str, Action], copies: dict[str, list[Any]], outcomes: Outcomes
) -> str:
    """Check a channel whose receivers recognise repeats; return a line of counts."""
    assert len(actions) == CUSTOMERS, channel
    assert copies.keys() <= actions.keys()
    for action_id, action in actions.items():
        reports, is_unsubscribed = outcomes[action_id], "/push/gone" in (action.address or "")
        ends = Counter(report.name for report in reports if report.name != "delivered")
        assert ends == {("bounce" if is_unsubscribed else "sent"): 1}, (channel, action_id, ends)
        assert not _is_unconfirmed(reports), (channel, action_id)
        assert is_unsubscribed or copies.get(action_id), (channel, action_id, "lost")
        first_message, *repeats = copies.get(action_id) or [None]
        assert all(repeat == first_message for repeat in repeats), (channel, action_id, "altered")
    total = sum(map(len, copies.values()))
    return f"{channel}: {len(copies)} received in {total} posts, of {CUSTOMERS}"
