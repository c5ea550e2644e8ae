"""The agents over Kafka write what the pure flow writes, driven record by record."""

import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest
from confluent_kafka import Producer
from msgspec.structs import replace

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.adapters.config_log import open_configuration_log
from pipeline.adapters.consumer_groups import stage_groups
from pipeline.adapters.lag import LagReader
from pipeline.adapters.snapshots import scan
from pipeline.config import model
from pipeline.flow import Flow
from pipeline.home.applied_configuration import applied_configuration
from pipeline.home.load_rules import load_rules
from pipeline.home.topics import ensure_topics
from pipeline.identity.requests import forget, unlink
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Context, DecideRequest, Identifier, Interaction
from pipeline.model.profile import SegmentChange
from pipeline.model.stages import Enriched, Segmented
from pipeline.settings import Settings
from tests.support.broker import running_broker
from tests.support.enriched import PHONE
from tests.support.geo_files import write_geo
from tests.support.offers import offering_rules
from tests.support.stack import eventually
from tests.support.telemetry import check_decision_headers, metrics, trace_of, traceparent
from tests.support.trained import model_text

_OUTPUT_TOPICS = (
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
_COMPACTED_TOPICS = (topics.PROFILES, topics.MEMBERSHIPS)
_FORWARDED_TOPICS = (topics.ENRICHED, topics.SEGMENTED)
_CODEC = Codec(recorded_versions())
_STAGES = ["identity", "enrichment", "segmentation", "decisioning"]

_Record: TypeAlias = tuple[str, bytes | None]
"""Key and value."""


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Home of its own, with the tests' offers applied."""
    with running_broker(tmp_path) as bootstrap:
        settings = Settings(home=tmp_path, bootstrap_servers=bootstrap, partitions=3)
        ensure_topics(settings, ["web", "email"])
        with open_configuration_log(settings.kafka(), Codec(recorded_versions())) as log:
            log.apply(_make_bundle(settings), "test")
        yield settings


@contextmanager
def _running_agents(settings: Settings, agents: Sequence[str]) -> Iterator[None]:
    """Run a worker process for each name: of one agent, or of `all`."""
    workers = [_start_worker(settings, name) for name in agents]
    yield
    for worker in workers:
        worker.terminate()
    assert [worker.wait(120) for worker in workers] == [0] * len(workers)


def _make_bundle(settings: Settings) -> model.Bundle:
    """Return a bundle of the tests' offers, with every enricher and a score."""
    base, artifacts = offering_rules().config.bundle, settings.kept_artifacts()
    model_file = settings.home / "model.txt"
    model_file.write_text(model_text())
    features = ("orders", "sessions", model.DaysSince("first_seen"))
    profile = model.ProfileRules(
        traits=(
            *base.profile.traits,
            model.TraitDefinition("device", "latest", of="derived.device_type"),
            model.TraitDefinition("source", "first", of="derived.campaign_source"),
            model.TraitDefinition(
                "recent", "bucket", of="trait.last_seen", thresholds=("1d", "1h")
            ),
        ),
        enrichers=model.Enrichers(
            user_agent=model.UserAgent(),
            geo=model.Geo("geo.mmdb", artifacts.store(write_geo(settings.home / "geo.mmdb"))),
            campaign=model.CampaignTags(),
            currency=model.Currency("EUR", {"paid": "properties.total"}),
            local_time=model.LocalTime(),
        ),
        scores=(model.Score("buys", features, "model.txt", artifacts.store(model_file)),),
    )
    segments = (
        *base.segments,
        model.Segment("mobile", {"derived": "device_type", "is": "mobile"}),
        model.Segment("spanish", {"derived": "country", "is": "ES"}),
        model.Segment("likely", {"trait": "score.buys", "gt": 0}),
    )
    return replace(base, profile=profile, segments=segments)


def _start_worker(settings: Settings, name: str) -> "subprocess.Popen[bytes]":
    environment = {
        "KAIROS_HOME": str(settings.home),
        "KAIROS_BOOTSTRAP_SERVERS": str(settings.bootstrap_servers),
        "KAIROS_PARTITIONS": str(settings.partitions),
    }
    command = [sys.executable, "-m", "pipeline.cli", "worker", name]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def test_agents_and_flow_write_the_same_records_in_one_process_and_then_in_four(
    settings: Settings,
) -> None:
    config = applied_configuration(settings)
    assert config is not None
    run = _ComparedRun(settings, Flow(load_rules(config, settings)))
    middle = len(_STORY) // 2
    with _running_agents(settings, ["all"]):
        run.send(_STORY[:middle])
    with _running_agents(settings, _STAGES):
        run.send(_STORY[middle:])
        _check_telemetry(settings, len(_interactions(_STORY[middle:])))
    expected_records = run.expected_records
    for topic in _OUTPUT_TOPICS:
        records = [(record.key, record.value) for record in scan(settings.kafka(), topic)]
        assert _comparable_records(topic, records) == _comparable_records(
            topic, expected_records[topic]
        ), topic
    assert len(expected_records[topics.DECISIONS]) == len(_interactions(_STORY))
    assert len(expected_records["actions.email"]) > 0
    assert any(value is None for _, value in expected_records[topics.PROFILES])
    changes = [_CODEC.decode(*value) for value in _values(expected_records, topics.SEGMENT_CHANGES)]
    entered_segments = {change.segment for change in changes if isinstance(change, SegmentChange)}
    assert entered_segments == {"buyers", "mobile", "spanish", "likely"}
    _check_headers(settings)


def _comparable_records(topic: str, records: Sequence[_Record]) -> Counter[_Record]:
    """Return the records, without fields that depend on the order between partitions.

    Where several rows of a person move at once, the order in which they arrive at the profile is
    undefined. So are the profile and its segments between two of these rows, and whether a refresh
    is needed there; the state after the last row is defined.
    """
    last_values = dict(records)
    if topic in _COMPACTED_TOPICS:
        return Counter(last_values.items())
    if topic not in _FORWARDED_TOPICS:
        return Counter(records)
    return Counter(
        record if record[1] == last_values[record[0]] else (record[0], stripped_value)
        for record in records
        if (stripped_value := _strip_interim_state(topic, record[1])) is not None
        or record[1] == last_values[record[0]]
    )


def _strip_interim_state(topic: str, value: bytes | None) -> bytes | None:
    """Return a control's record without its profile and segments, an interaction's as it is, and
    None for a refresh of an interim state."""
    assert value is not None
    record = _CODEC.decode(topic, value)
    assert isinstance(record, Enriched | Segmented)
    if record.control is None:
        return value
    if record.control.kind == "refresh":
        return None
    blank_fields = {
        "profile": None,
        **({"segments": None} if isinstance(record, Segmented) else {}),
    }
    return _CODEC.encode(topic, replace(record, **blank_fields))


class _ComparedRun:
    """Run of the same inputs through the agents and the flow; `expected_records`: the flow's
    outputs, by topic, in order."""

    def __init__(self, settings: Settings, flow: Flow) -> None:
        self.expected_records: dict[str, list[_Record]] = defaultdict(list)
        self._flow = flow
        self._lag = LagReader(settings.kafka(), stage_groups())
        self._producer = Producer({**settings.kafka(), "partitioner": "murmur2_random"})

    def send(self, records: Sequence[Interaction | IdentityChange]) -> None:
        """Send the inputs one by one, and wait after each for all that follows from it."""
        for record in records:
            topic, key = _address(record)
            value = _CODEC.encode(topic, record)
            headers = [traceparent(_STORY.index(record))]
            self._producer.produce(topic, value, key, headers=headers)
            self._producer.flush()
            if isinstance(record, IdentityChange):
                self.expected_records[topic].append((key, value))
            for emit in self._flow.run(record):
                data = _CODEC.encode(emit.topic, emit.value)
                self.expected_records[emit.topic].append((emit.key, data))
            assert self._lag.wait_until_idle(timeout_s=60)


def _values(records: dict[str, list[_Record]], topic: str) -> Iterator[tuple[str, bytes]]:
    return ((topic, value) for _, value in records[topic] if value is not None)


def _check_headers(settings: Settings) -> None:
    traces = {
        interaction.event_id: trace_of(_STORY.index(interaction))
        for interaction in _interactions(_STORY)
    }
    for entry in scan(settings.kafka(), topics.DECISIONS):
        decision = _CODEC.decode(topics.DECISIONS, entry.value or b"")
        assert isinstance(decision, Decision)
        check_decision_headers(entry, traces[decision.event_id])


def _check_telemetry(settings: Settings, count: int) -> None:
    """Check the telemetry of the running processes, each of which has processed `count`
    interactions."""
    figures = eventually(lambda: _settled_figures(metrics(settings.home)))
    for stage in _STAGES:
        assert figures["kairos_stage_read_total", stage] >= count
        assert figures["kairos_stage_commits_total", stage] > 0
        assert figures["kairos_stage_state_rows", stage] > 0
    assert figures["kairos_stage_dead_letters_total", "identity"] == 0


def _settled_figures(figures: Counter[tuple[str, str]]) -> Counter[tuple[str, str]] | None:
    """Return the figures once nothing is in flight, not even a timer, and each record that was read
    was timed; None before."""
    time_metrics = ("kairos_stage_spent_seconds_count", "kairos_stage_queued_seconds_count")
    is_settled = all(
        {figures[name, stage] for name in time_metrics}
        == {figures["kairos_stage_read_total", stage]}
        for stage in _STAGES
    )
    return (
        figures if is_settled and figures["kairos_stage_lag_records", "decisioning"] == 0 else None
    )


def _interactions(records: Sequence[Interaction | IdentityChange]) -> list[Interaction]:
    return [record for record in records if isinstance(record, Interaction)]


def _address(record: Interaction | IdentityChange) -> tuple[str, str]:
    """Return topic and key."""
    if isinstance(record, Interaction):
        return topics.INTERACTIONS, record.identifiers[0].key
    return topics.IDENTITIES, record.identifier


def _visit(
    number: int,
    name: str,
    time_ms: int,
    identifiers: Sequence[str],
    has_request: bool = False,
    kind: str = "track",
) -> Interaction:
    return Interaction(
        event_id=f"e{number}",
        kind=kind,  # type: ignore[arg-type]
        name=name,
        channel="web",
        source="shop",
        occurred_at=time_ms,
        received_at=time_ms,
        identifiers=tuple(Identifier.parse(identifier) for identifier in identifiers),
        context=Context(ip="192.0.2.1", user_agent=PHONE, url="/?utm_source=news"),
        request=DecideRequest(f"r{number}", "g", ("hero",), time_ms + 100) if has_request else None,
    )


_DAY_MS = 86_400_000
_STORY: Sequence[Interaction | IdentityChange] = (
    _visit(1, "Home", 1_000, ["cookie:k"], has_request=True),
    _visit(2, "Home", 2_000, ["cookie:k"]),
    _visit(3, "Order", 3_000, ["customer_id:c", "email:c@example.com", "cookie:k"]),
    # Without a request: contacts that the next interaction moves may arrive before its decision.
    _visit(4, "Home", 4_000, ["cookie:l"]),
    _visit(5, "Home", 5_000, ["email:c@example.com", "cookie:l"]),
    _visit(6, "Home", 6_000, ["cookie:l"], has_request=True),
    _visit(7, "Order", 7_000, ["customer_id:d", "cookie:k"]),
    _visit(8, "Home", 8_000, ["cookie:k"], has_request=True),
    _visit(9, "Alias", _DAY_MS, ["customer_id:c", "customer_id:d"], kind="alias"),
    _visit(10, "Home", _DAY_MS + 1_000, ["customer_id:d"], has_request=True),
    _visit(11, "Order", _DAY_MS + 2_000, ["customer_id:c", "email:c@example.com"]),
    unlink(Identifier("email", "c@example.com"), Identifier("cookie", "l"), _DAY_MS + 3_000),
    _visit(12, "Home", _DAY_MS + 4_000, ["cookie:l"], has_request=True),
    forget(Identifier("email", "c@example.com"), _DAY_MS + 5_000),
    _visit(
        13, "Order", _DAY_MS + 6_000, ["customer_id:c", "email:c@example.com"], has_request=True
    ),
)
"""Anonymous visits, an order that identifies the customer, a second device, an alias, another
person's device, and a customer who is forgotten and returns."""
