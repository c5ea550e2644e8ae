"""Changes without an interaction on a real broker: by the wall clock across a kill, by a log's
clock, and by a new configuration."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.adapters.clock import now_ms
from pipeline.adapters.config_log import open_configuration_log
from pipeline.adapters.consumer_groups import are_stages_running, stage_groups
from pipeline.adapters.lag import LagReader
from pipeline.adapters.log_clock import LogClock
from pipeline.adapters.snapshots import scan
from pipeline.config import model
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.home.load_rules import load_rules
from pipeline.home.records import Records
from pipeline.home.topics import ensure_topics
from pipeline.identity.record_factory import profile_of
from pipeline.model import topics
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.profile import SegmentChange
from pipeline.profile_reads.member_profiles import MemberProfile, open_profiles
from pipeline.rollout.backfill import backfill
from pipeline.rollout.plan import plan
from pipeline.rollout.reevaluate import reevaluate
from pipeline.rollout.versions import Version
from pipeline.settings import Settings
from tests.support.broker import running_broker
from tests.support.stack import eventually

pytestmark = pytest.mark.long

_CODEC = Codec(recorded_versions())
_WAIT_S = 3
_BACKLOG_SIZE = 300
_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS


def _bundle() -> model.Bundle:
    """Return a configuration that mails customers who left a cart: after seconds by the wall
    clock, after an hour by a log's."""

    def latest_time(name: str) -> model.TraitDefinition:
        return model.TraitDefinition(
            f"last_{name.lower()}", "max", of="occurred_at", when={"name": name}
        )

    def cart_segment(name: str, age: str) -> model.Segment:
        return model.Segment(
            name,
            {
                "all": [
                    {"trait": "last_cart", "older_than": age},
                    {"not": {"trait": "last_order", "gte": {"trait": "last_cart"}}},
                ]
            },
        )

    def campaign(segment: str) -> model.Campaign:
        mail = model.Treatment(f"{segment}-mail", "email", address="email")
        offer = model.Offer(f"{segment}-offer", 5.0, (mail,))
        return model.Campaign(f"{segment}-campaign", (offer,), trigger={"entered": segment})

    return model.Bundle(
        sources=model.Sources(
            (
                model.Source("shop", "web", "write-key-1"),
                model.Source("log", "web", "write-key-2", clock="log"),
            )
        ),
        identity=model.Identity((model.Namespace("email", "lower"), model.Namespace("cookie"))),
        channels=model.Channels((model.Channel("email"), model.Channel("web"))),
        profile=model.ProfileRules((latest_time("Cart"), latest_time("Order"))),
        segments=(
            cart_segment("left-now", f"{_WAIT_S}s"),
            cart_segment("left-an-hour", "60m"),
            model.Segment("recent-cart", {"trait": "last_cart", "within": f"{_WAIT_S}s"}),
        ),
        campaigns=(campaign("left-now"), campaign("left-an-hour")),
    )


@dataclass
class WorkerStack:
    """Broker and one worker with all agents."""

    settings: Settings
    worker: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        environment = {
            "KAIROS_HOME": str(self.settings.home),
            "KAIROS_BOOTSTRAP_SERVERS": str(self.settings.bootstrap_servers),
            "KAIROS_PARTITIONS": str(self.settings.partitions),
        }
        command = [sys.executable, "-m", "pipeline.cli", "worker", "all"]
        self.worker = subprocess.Popen(command, env=environment, start_new_session=True)

    def kill(self) -> None:
        assert self.worker is not None
        self.worker.kill()
        self.worker.wait()

    def send(self, name: str, identifier: str, time_ms: int, source: str) -> None:
        producer = Producer({**self.settings.kafka(), "partitioner": "murmur2_random"})
        interaction = Interaction(
            f"{identifier}-{name}-{time_ms}",
            "track",
            name,
            "web",
            source,
            time_ms,
            time_ms,
            (Identifier("email", identifier),),
        )
        value = _CODEC.encode(topics.INTERACTIONS, interaction)
        producer.produce(topics.INTERACTIONS, value, interaction.identifiers[0].key)
        assert producer.flush(10) == 0

    def wait_until_idle(self) -> None:
        assert LagReader(self.settings.kafka(), stage_groups()).wait_until_idle(timeout_s=60)

    def changes(self) -> list[SegmentChange]:
        return self._read(topics.SEGMENT_CHANGES, SegmentChange)

    def changes_of(self, identifier: str) -> list[SegmentChange]:
        profile_id = profile_of(f"email:{identifier}")
        return [change for change in self.changes() if change.profile_id == profile_id]

    def mails(self) -> list[Action]:
        return self._read("actions.email", Action)

    def _read(self, topic: str, kind: type) -> list:  # type: ignore[type-arg]
        values = (
            _CODEC.decode(topic, record.value or b"")
            for record in scan(self.settings.kafka(), topic)
        )
        return [value for value in values if isinstance(value, kind)]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[WorkerStack]:
    with running_broker(tmp_path) as bootstrap:
        settings = Settings(home=tmp_path, bootstrap_servers=bootstrap, partitions=3)
        ensure_topics(settings, ["web", "email"])
        with open_configuration_log(settings.kafka(), _CODEC) as log:
            log.apply(_bundle(), "test")
        stack = WorkerStack(settings)
        stack.start()
        yield stack
        if stack.worker is not None:
            stack.worker.terminate()
            assert stack.worker.wait(120) == 0


def test_time_and_configurations_act_without_interactions(stack: WorkerStack) -> None:
    _check_time_of_a_log(stack)
    _check_timers_across_a_kill(stack)
    _check_new_configuration(stack)


def _check_time_of_a_log(stack: WorkerStack) -> None:
    """Check that a log has its own time: a cart left for an hour gets one e-mail, one bought at 59
    minutes none, and the wall clock changes nothing."""
    start_ms = 1_700_000_000_000
    clock = LogClock(stack.settings.kafka(), _CODEC, stack.settings.partitions)
    for address in ("left@a", "bought@a", "late@a"):
        stack.send("Cart", address, start_ms, "log")
    stack.send("Order", "bought@a", start_ms + 59 * _MINUTE_MS, "log")
    stack.wait_until_idle()
    clock.tick(start_ms + _HOUR_MS - 1)
    stack.wait_until_idle()
    assert [mail.campaign for mail in stack.mails()] == ["left-now-campaign"] * 3
    clock.tick(start_ms + _HOUR_MS)
    clock.tick(start_ms + 2 * _HOUR_MS)
    stack.wait_until_idle()
    stack.send("Order", "late@a", start_ms + 3 * _HOUR_MS, "log")
    stack.wait_until_idle()
    hourly_mails = [mail for mail in stack.mails() if mail.campaign == "left-an-hour-campaign"]
    assert sorted(mail.address or "" for mail in hourly_mails) == ["late@a", "left@a"]
    assert {mail.created_at for mail in hourly_mails} == {start_ms + _HOUR_MS}
    exits = [change for change in stack.changes() if change.change == "exited"]
    assert {change.at for change in exits if change.segment == "recent-cart"} == {
        start_ms + _WAIT_S * 1000
    }
    exit_times = {change.at for change in exits if change.segment != "recent-cart"}
    assert exit_times == {start_ms + 59 * _MINUTE_MS, start_ms + 3 * _HOUR_MS}


def _check_timers_across_a_kill(stack: WorkerStack) -> None:
    """Check that a timer fires once across a kill, by the worker that runs when it falls due or by
    its successor."""
    time_ms = now_ms()
    stack.send("Cart", "soon@b", time_ms - 1000, "shop")
    _check_entry_by_time(stack, "soon@b", time_ms - 1000)
    time_ms = now_ms()
    stack.send("Cart", "gone@b", time_ms, "shop")
    stack.wait_until_idle()
    stack.kill()
    time.sleep(max(0, time_ms / 1000 + _WAIT_S - time.time()))
    stack.start()
    _check_entry_by_time(stack, "gone@b", time_ms)


def test_backlog_counts_before_timers_due_later(stack: WorkerStack) -> None:
    # Bought in time, behind a backlog in the same partition: the cart never counts as left.
    identifier, time_ms = _leave_cart_and_kill_worker(stack)
    for number in range(_BACKLOG_SIZE):
        stack.send("View", identifier, time_ms + 1 + number, "shop")
    stack.send("Order", identifier, time_ms + 1 + _BACKLOG_SIZE, "shop")
    time.sleep(max(0, time_ms / 1000 + _WAIT_S + 1 - time.time()))
    count_before = len(stack.changes_of(identifier))
    stack.start()
    eventually(
        lambda: len(stack.changes_of(identifier)) > count_before
    )  # an idle pipeline may have a timer due
    stack.wait_until_idle()
    later_changes = stack.changes_of(identifier)[count_before:]
    assert [(change.change, change.segment, change.at) for change in later_changes] == [
        ("exited", "recent-cart", time_ms + _WAIT_S * 1000)
    ]
    assert not [mail for mail in stack.mails() if mail.address == identifier]


def _leave_cart_and_kill_worker(stack: WorkerStack) -> tuple[str, int]:
    """Let a customer leave a cart, and kill the worker before the timer fires; return the customer
    and the time of the cart."""
    for number in range(10):
        identifier = f"back{number}@c"
        stack.send("View", identifier, now_ms(), "shop")
        stack.wait_until_idle()  # the worker is running
        time_ms = now_ms()
        stack.send("Cart", identifier, time_ms, "shop")
        stack.wait_until_idle()
        stack.kill()
        if time.time() < time_ms / 1000 + _WAIT_S:
            return identifier, time_ms
        stack.start()
    pytest.fail("the worker was never killed in time")


def _check_entry_by_time(stack: WorkerStack, identifier: str, time_ms: int) -> None:
    """Check that the customer entered a segment and was mailed once, and left another, when due."""
    eventually(lambda: any(mail.address == identifier for mail in stack.mails()))
    stack.wait_until_idle()  # a segment's change may be readable after the mail that it caused
    [mail] = [mail for mail in stack.mails() if mail.address == identifier]
    due_ms = time_ms + _WAIT_S * 1000
    changes = [change for change in stack.changes() if change.profile_id == mail.profile_id]
    timed_changes = {
        (change.change, change.segment, change.at)
        for change in changes
        if change.why == "time passed"
    }
    assert timed_changes == {("entered", "left-now", due_ms), ("exited", "recent-cart", due_ms)}
    assert mail.created_at >= due_ms


def _check_new_configuration(stack: WorkerStack) -> None:
    """Check that a configuration has its planned effect: a new metric is back-filled; applied again
    it changes nothing, and nobody is mailed."""
    mail_count = len(stack.mails())
    versions = [Version(_compile(_bundle()), 1), Version(_compile(_bundle_with_orders()), 2)]
    config = versions[-1].config
    records = Records.of(stack.settings)
    people = _people(records)
    rollout = plan(people, versions[:1], config)
    segment_plan = next(segment for segment in rollout.segments if segment.segment == "ordered")
    assert (segment_plan.now, segment_plan.enter, rollout.filled) == (0, 2, ("orders",))
    with open_configuration_log(stack.settings.kafka(), _CODEC) as log:
        version = log.apply(config.bundle, "test")
    progress: list[int] = []
    rules = load_rules(config, stack.settings)
    assert are_stages_running(stack.settings.kafka())
    for _ in range(2):
        assert backfill(records, versions, rules, lambda _: None) == len(people)
        reevaluate(records, _people(records), version.digest, progress.append)
    assert progress == [len(people)] * 2
    new_changes = [change for change in stack.changes() if change.config == version.digest]
    entries = [("counted", "entered")] * 2 + [("ordered", "entered")] * 2
    assert sorted((change.segment, change.change) for change in new_changes) == entries
    for person in _people(records):
        has_ordered = "last_order" in person.profile.traits
        assert person.profile.traits.get("orders") == (1 if has_ordered else None)
        assert {"ordered", "counted"} <= person.members.keys() or not has_ordered
    assert len(stack.mails()) == mail_count
    buyer = next(person.profile for person in _people(records) if "ordered" in person.members)
    identifier = Identifier.parse(buyer.root).value
    stack.send("Order", identifier, now_ms(), "shop")
    stack.wait_until_idle()
    [updated_profile] = [
        person.profile for person in _people(records) if person.profile.root == buyer.root
    ]
    assert updated_profile.traits["orders"] == 2


def _people(records: Records) -> list[MemberProfile]:
    with open_profiles(records) as people:
        assert len(people) == len(list(people))
        return list(people)


def _bundle_with_orders() -> model.Bundle:
    """Return the bundle with a segment over a known metric, and one over a new metric."""
    base_bundle = _bundle()
    orders = model.TraitDefinition("orders", "count", when={"name": "Order"})
    known_metric = model.Segment("ordered", {"trait": "last_order", "exists": True})
    order_segment = model.Segment("counted", {"trait": "orders", "gte": 1})
    return msgspec.structs.replace(
        base_bundle,
        profile=model.ProfileRules((*base_bundle.profile.traits, orders)),
        segments=(*base_bundle.segments, known_metric, order_segment),
    )


def _compile(bundle: model.Bundle) -> Configuration:
    config = compile_bundle(bundle)
    assert isinstance(config, Configuration)
    return config
