"""The agents over Kafka write what the pure flow writes, driven record by record."""

import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer
from msgspec.structs import replace

from pipeline.adapters.avro import Codec, recorded
from pipeline.adapters.broker import Broker, BrokerFailure, BrokerOptions
from pipeline.adapters.config_log import open_configuration_log
from pipeline.adapters.lag import LagReader
from pipeline.adapters.rules import load_rules
from pipeline.adapters.snapshots import scan
from pipeline.adapters.topics import ensure_topics
from pipeline.config import model
from pipeline.flow import Flow
from pipeline.identity.requests import forget, unlink
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Context, DecideRequest, Identifier, Interaction
from pipeline.model.profile import SegmentChange
from pipeline.settings import Settings
from pipeline.stack.configuration import applied_configuration
from pipeline.stack.groups import stage_groups
from tests.support.chain import eventually
from tests.support.enriched import PHONE
from tests.support.geo_files import write_geo
from tests.support.offers import offering_rules
from tests.support.telemetry import check_decision_headers, metrics, trace_of, traceparent
from tests.support.trained import model_text

_OUTPUTS = (
    topics.IDENTIFIED,
    topics.IDENTITIES,
    topics.ENRICHED,
    topics.SEGMENTED,
    topics.PROFILES,
    topics.MEMBERSHIPS,
    topics.SEGMENT_CHANGES,
    topics.DECISIONS,
    topics.REPLIES,
    "actions.web",
    "actions.email",
)
_AGENTS = ["all"]
_FOUR = ["identity", "enrichment", "segmentation", "decisioning"]


@pytest.fixture(params=[_AGENTS, _FOUR], ids=["one-process", "four-processes"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """A home of its own, with the agents running on the tests' offers."""
    broker = Broker(BrokerOptions(tmp_path, Settings().cache_dir, port=0))
    started = broker.start()
    if isinstance(started, BrokerFailure):
        pytest.fail(started.message)
    settings = Settings(home=tmp_path, bootstrap_servers=started.bootstrap, partitions=3)
    ensure_topics(settings, ["web", "email"])
    with open_configuration_log(settings.kafka(), Codec(recorded())) as log:
        log.apply(_bundle(settings), "test")
    workers = [_worker(settings, name) for name in request.param]
    yield settings
    for worker in workers:
        worker.terminate()
    assert [worker.wait(30) for worker in workers] == [0] * len(workers)
    broker.stop()


def _bundle(settings: Settings) -> model.Bundle:
    """The tests' offers, with everything that is derived, and a score."""
    base, artifacts = offering_rules().config.bundle, settings.kept_artifacts()
    trained = settings.home / "model.txt"
    trained.write_text(model_text())
    features = ("orders", "sessions", model.DaysSince("first_seen"))
    profile = model.ProfileRules(
        traits=(
            *base.profile.traits,
            model.Trait("device", "latest", of="derived.device_type"),
            model.Trait("source", "first", of="derived.campaign_source"),
            model.Trait("recent", "bucket", of="trait.last_seen", thresholds=("1d", "1h")),
        ),
        enrichers=model.Enrichers(
            user_agent=model.UserAgent(),
            geo=model.Geo("geo.mmdb", artifacts.keep(write_geo(settings.home / "geo.mmdb"))),
            campaign=model.CampaignTags(),
            currency=model.Currency("EUR", {"paid": "properties.total"}),
            local_time=model.LocalTime(),
        ),
        scores=(model.Score("buys", "model.txt", features, artifacts.keep(trained)),),
    )
    segments = (
        *base.segments,
        model.Segment("mobile", {"derived": "device_type", "is": "mobile"}),
        model.Segment("spanish", {"derived": "country", "is": "ES"}),
        model.Segment("likely", {"trait": "score.buys", "gt": 0}),
    )
    return replace(base, profile=profile, segments=segments)


def _worker(settings: Settings, name: str) -> "subprocess.Popen[bytes]":
    environment = {
        "KAIROS_HOME": str(settings.home),
        "KAIROS_BOOTSTRAP_SERVERS": str(settings.bootstrap_servers),
        "KAIROS_PARTITIONS": str(settings.partitions),
    }
    command = [sys.executable, "-m", "pipeline.cli", "worker", name]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def test_agents_and_flow_write_the_same_records(running: Settings) -> None:
    codec = Codec(recorded())
    config = applied_configuration(running)
    assert config is not None
    flow = Flow(load_rules(config, running))
    lag = LagReader(running.kafka(), stage_groups())
    producer = Producer({**running.kafka(), "partitioner": "murmur2_random"})
    expected: dict[str, Counter[tuple[str, bytes | None]]] = defaultdict(Counter)
    story = _story()
    for number, record in enumerate(story):
        topic, key = _addressed(record)
        value = codec.encode(topic, record)
        producer.produce(topic, value, key, headers=[traceparent(number)])
        producer.flush()
        if isinstance(record, IdentityChange):
            expected[topic][key, codec.encode(topic, record)] += 1
        for emit in flow.run(record):
            expected[emit.topic][emit.key, codec.encode(emit.topic, emit.value)] += 1
        assert lag.until_idle(timeout_s=60)
    for topic in _OUTPUTS:
        written = Counter((one.key, one.value) for one in scan(running.kafka(), topic))
        assert written == expected[topic], topic
    came = [record for record in story if isinstance(record, Interaction)]
    assert expected[topics.DECISIONS].total() == len(came)
    assert expected["actions.email"].total() > 0
    assert any(value is None for _, value in expected[topics.PROFILES])
    changes = [codec.decode(*one) for one in _values(expected, topics.SEGMENT_CHANGES)]
    entered = {one.segment for one in changes if isinstance(one, SegmentChange)}
    assert entered == {"buyers", "mobile", "spanish", "likely"}
    _check_telemetry(running, codec, story)


def _values(
    written: dict[str, Counter[tuple[str, bytes | None]]], topic: str
) -> Iterator[tuple[str, bytes]]:
    return ((topic, value) for _, value in written[topic] if value is not None)


def _check_telemetry(
    running: Settings, codec: Codec, story: Sequence[Interaction | IdentityChange]
) -> None:
    traces = {
        record.event_id: trace_of(number)
        for number, record in enumerate(story)
        if isinstance(record, Interaction)
    }
    for stored in scan(running.kafka(), topics.DECISIONS):
        decision = codec.decode(topics.DECISIONS, stored.value or b"")
        assert isinstance(decision, Decision)
        check_decision_headers(stored, traces[decision.event_id])
    eventually(lambda: metrics(running.home)["kairos_stage_lag_records", "decisioning"] == 0)
    told = metrics(running.home)
    for stage in _FOUR:
        records = told["kairos_stage_read_total", stage]
        assert records >= len(traces)
        assert told["kairos_stage_spent_seconds_count", stage] == records
        assert told["kairos_stage_queued_seconds_count", stage] == records
        assert told["kairos_stage_commits_total", stage] > 0
        assert told["kairos_stage_state_rows", stage] > 0
    assert told["kairos_stage_dead_letters_total", "identity"] == 0


def _addressed(record: Interaction | IdentityChange) -> tuple[str, str]:
    """Topic and key."""
    if isinstance(record, Interaction):
        return topics.INTERACTIONS, record.identifiers[0].key
    return topics.IDENTITIES, record.identifier


def _story() -> Sequence[Interaction | IdentityChange]:
    """Anonymous visits, an order that tells who it was, a second device, an alias, a device that
    was not hers, and somebody who wants to be forgotten and comes back."""
    day = 86_400_000
    return [
        _visit(1, "Home", 1_000, ["cookie:k"], ask=True),
        _visit(2, "Home", 2_000, ["cookie:k"]),
        _visit(3, "Order", 3_000, ["customer_id:c", "email:c@example.com", "cookie:k"]),
        _visit(4, "Home", 4_000, ["cookie:l"], ask=True),
        _visit(5, "Home", 5_000, ["email:c@example.com", "cookie:l"]),
        _visit(6, "Home", 6_000, ["cookie:l"], ask=True),
        _visit(7, "Order", 7_000, ["customer_id:d", "cookie:k"]),
        _visit(8, "Home", 8_000, ["cookie:k"], ask=True),
        _visit(9, "Alias", day, ["customer_id:c", "customer_id:d"], kind="alias"),
        _visit(10, "Home", day + 1_000, ["customer_id:d"], ask=True),
        _visit(11, "Order", day + 2_000, ["customer_id:c", "email:c@example.com"]),
        unlink(Identifier("email", "c@example.com"), Identifier("cookie", "l"), day + 3_000),
        _visit(12, "Home", day + 4_000, ["cookie:l"], ask=True),
        forget(Identifier("email", "c@example.com"), day + 5_000),
        _visit(13, "Order", day + 6_000, ["customer_id:c", "email:c@example.com"], ask=True),
    ]


def _visit(
    number: int, name: str, at: int, who: Sequence[str], ask: bool = False, kind: str = "track"
) -> Interaction:
    return Interaction(
        event_id=f"e{number}",
        kind=kind,  # type: ignore[arg-type]
        name=name,
        channel="web",
        source="shop",
        occurred_at=at,
        received_at=at,
        identifiers=tuple(Identifier.parse(one) for one in who),
        context=Context(ip="192.0.2.1", user_agent=PHONE, url="/?utm_source=news"),
        request=DecideRequest(f"r{number}", "g", ("hero",), at + 100) if ask else None,
    )
