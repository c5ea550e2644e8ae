"""Log of applied configurations, on a broker of its own, which has no configuration at first."""

import asyncio
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest
from confluent_kafka import Producer
from msgspec.structs import replace

from agents import identity
from agents.agent import Equipment
from agents.app import App, AppOptions
from agents.rulebook import Rulebook
from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.adapters.clock import now_ms
from pipeline.adapters.config_files import load
from pipeline.adapters.config_follower import ConfigurationLogError
from pipeline.adapters.config_log import AppliedVersion, ConfigurationLog
from pipeline.config.compile import Configuration
from pipeline.config.model import Bundle, ProfileRules
from pipeline.home.load_rules import load_rules
from pipeline.home.records import Records
from pipeline.home.topics import ensure_topics
from pipeline.model import topics
from pipeline.model.configuration import ConfigurationRecord
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.stages import Identified
from pipeline.settings import Settings
from tests.support.broker import running_broker

DEMO = Path(__file__).parents[2] / "deploy" / "demo"
CODEC = Codec(recorded_versions())
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    home = tmp_path_factory.mktemp("configurations")
    with running_broker(home) as bootstrap:
        yield Settings(home=home, bootstrap_servers=bootstrap)


@contextmanager
def running_log(
    settings: Settings, on_change: Callable[[Configuration], None] | None = None
) -> Iterator[ConfigurationLog]:
    log = ConfigurationLog(settings.kafka(), CODEC, on_change)
    log.start(PATIENCE_S)
    try:
        yield log
    finally:
        log.stop()


def demo_bundle(session_gap: str) -> Bundle:
    """Return a version of the demo's bundle that differs in one field."""
    bundle = load(DEMO, {})
    assert isinstance(bundle, Bundle)
    return replace(bundle, profile=ProfileRules(bundle.profile.traits, session_gap))


def write(settings: Settings, value: bytes | None) -> None:
    producer = Producer(settings.kafka())
    producer.produce(topics.CONFIGURATION, value, "rubbish")
    assert producer.flush(PATIENCE_S) == 0


def test_error_of_a_missing_topic_names_the_remedy(settings: Settings) -> None:
    log = ConfigurationLog({**settings.kafka(), "allow.auto.create.topics": False}, CODEC)
    with pytest.raises(ConfigurationLogError, match="kairos up"):
        log.start(2.0)


def test_empty_topic_has_no_configuration(settings: Settings) -> None:
    ensure_topics(settings, ())
    with running_log(settings) as log:
        assert log.configuration_in_force() is None
        assert log.history() == ()
        assert log.get("0" * 16) is None


def test_applied_configuration_is_in_force_everywhere(settings: Settings) -> None:
    ensure_topics(settings, ())
    changes: queue.Queue[Configuration] = queue.Queue()
    with running_log(settings) as first_log, running_log(settings, changes.put) as second_log:
        first_version = first_log.apply(demo_bundle("10m"), "ada")
        assert first_version.changed
        assert first_log.apply(demo_bundle("10m"), "ada") == AppliedVersion(
            first_version.digest, changed=False
        )
        second_version = first_log.apply(demo_bundle("20m"), "bob")
        assert changes.get(timeout=PATIENCE_S).digest == first_version.digest
        assert changes.get(timeout=PATIENCE_S).session_gap_ms == 20 * 60_000
        for log in (first_log, second_log):
            log.catch_up(PATIENCE_S)
            stored_version = log.get(first_version.digest)
            assert stored_version is not None
            assert stored_version.session_gap_ms == 10 * 60_000
            configuration = log.configuration_in_force()
            assert configuration is not None
            assert configuration.digest == second_version.digest
        assert first_log.apply(demo_bundle("10m"), "ada").changed, (
            "an old version can be put in force again"
        )
        assert [(record.digest, record.applied_by) for record in first_log.history()] == [
            (first_version.digest, "ada"),
            (second_version.digest, "bob"),
            (first_version.digest, "ada"),
        ]


def test_later_reader_finds_everything_at_its_start(settings: Settings) -> None:
    ensure_topics(settings, ())
    with running_log(settings) as log:
        version = log.apply(demo_bundle("30m"), "ada")
    changes: queue.Queue[Configuration] = queue.Queue()
    with running_log(settings, changes.put) as log:
        configuration = log.configuration_in_force()
        assert configuration is not None
        assert configuration.digest == version.digest
        assert changes.get(timeout=PATIENCE_S) is configuration
        assert changes.empty()


def test_rubbish_in_the_topic_changes_nothing(settings: Settings) -> None:
    ensure_topics(settings, ())
    with running_log(settings) as log:
        version = log.apply(demo_bundle("40m"), "ada")
        forgery = ConfigurationRecord("f" * 16, 1, "eve", "{}")
        for value in (b"rubbish", None, CODEC.encode(topics.CONFIGURATION, forgery)):
            write(settings, value)
        next_version = log.apply(demo_bundle("50m"), "ada")
        assert log.get(forgery.digest) is None
        assert log.get(version.digest) is not None
        configuration = log.configuration_in_force()
        assert configuration is not None
        assert configuration.digest == next_version.digest


def test_worker_stamps_no_older_version_after_an_assignment(
    settings: Settings,
) -> None:
    # The worker lacks a version as it gets its partitions. Interactions stamped with an older one
    # would be neither back-filled into a new metric nor counted in it.
    ensure_topics(settings, ())
    _send(settings, "e1")
    late_follower = _LateFollower(settings)
    with running_log(settings) as log:
        log.apply(demo_bundle("11m"), "ada")
        late_follower.start(PATIENCE_S)
        missed_version = log.apply(demo_bundle("12m"), "ada")
    assert asyncio.run(_run_and_read_stamps(late_follower)) == [missed_version.digest]
    late_follower.stop()


class _LateFollower(ConfigurationLog):
    """Follower that receives nothing after its start, until an app asks it to catch up once the app
    has partitions."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.kafka(), CODEC, lambda _: self._wait())
        self.settings = settings
        self.app = self._identity_app()
        self._may_continue = Event()

    def catch_up(self, timeout_s: float) -> None:
        if self.app.started and self.app.consumer.assignment():
            self._may_continue.set()
        super().catch_up(timeout_s)

    def _wait(self) -> None:
        assert self._may_continue.wait(PATIENCE_S)

    def _identity_app(self) -> App:
        rulebook = Rulebook(self, lambda config: load_rules(config, self.settings))
        assert self.settings.bootstrap_servers is not None
        options = AppOptions(
            self.settings.bootstrap_servers,
            self.settings.home,
            self.settings.partitions,
            librdkafka={"log_level": "0"},  # quiet, since the broker may end before its clients
        )
        return identity.create_app(Equipment(options, CODEC, rulebook))


async def _run_and_read_stamps(log: _LateFollower) -> list[str]:
    """Run the follower's app; return the versions that it stamps on records."""
    run = asyncio.ensure_future(log.app.start())
    deadline_s = time.monotonic() + PATIENCE_S
    while not (stamps := await asyncio.to_thread(_stamped_versions, log.settings)):
        assert time.monotonic() < deadline_s
    await log.app.stop()
    await run
    return stamps


def _stamped_versions(settings: Settings) -> list[str]:
    records = Records(settings, CODEC).read_all(topics.IDENTIFIED, Identified)
    return [record.identity.config for _, record in records if record.identity is not None]


def _send(settings: Settings, event_id: str) -> None:
    time_ms = now_ms()
    identifier = Identifier("cookie", "k")
    interaction = Interaction(
        event_id, "track", "cart", "web", "shop", time_ms, time_ms, (identifier,)
    )
    producer = Producer({**settings.kafka(), "partitioner": "murmur2_random"})
    producer.produce(
        topics.INTERACTIONS, CODEC.encode(topics.INTERACTIONS, interaction), identifier.key
    )
    assert producer.flush(PATIENCE_S) == 0


def test_reader_without_a_broker_names_kafka() -> None:
    log = ConfigurationLog({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, CODEC)
    with pytest.raises(ConfigurationLogError, match="Kafka"):
        log.start(1.0)
