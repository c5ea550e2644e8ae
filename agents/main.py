"""Entry point of a worker: runs one agent, or several, in this process."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from prometheus_client import REGISTRY, start_http_server

from agents import decisioning, enrichment, identity, segmentation
from agents.agent import Equipment
from agents.app import App, AppOptions
from agents.decoded_cache import DecodedCache
from agents.engine_metrics import EngineCollector
from agents.rulebook import Rulebook
from agents.run import exempt_from_collection
from agents.run import run as run_apps
from pipeline.adapters.cleaning import Cleaning
from pipeline.adapters.config_follower import ConfigurationFollower
from pipeline.adapters.kafka import Property
from pipeline.adapters.latest_learning import LatestLearning, follow_learning
from pipeline.flow import stage as stage_named
from pipeline.home.codec import open_codec
from pipeline.home.load_rules import load_rules
from pipeline.settings import Settings

AGENTS: Final[Mapping[str, Callable[[Equipment], App]]] = {
    "identity": identity.create_app,
    "enrichment": enrichment.create_app,
    "segmentation": segmentation.create_app,
    "decisioning": decisioning.create_app,
}

OnReady = Callable[[Mapping[str, int]], None]

_READY_POLL_S = 0.05
_CONFIGURATION_TIMEOUT_S = 30.0


def run(settings: Settings, names: Sequence[str], instance: str, on_ready: OnReady) -> int:
    """Run the agents `names` until a signal; return the exit code.

    `on_ready` is called once all of them have their partitions and state, with the ports that this
    process listens on (`metrics`).
    """
    kafka = settings.kafka()
    codec = open_codec(settings)
    follower = ConfigurationFollower(kafka, codec)
    follower.start(_CONFIGURATION_TIMEOUT_S)
    latest_learning, learning_follower = follow_learning(kafka, codec, settings.kept_artifacts())
    try:
        inputs = (topic for name in names for topic in stage_named(name).inputs)
        equipment = Equipment(
            _options(settings, kafka, instance),
            DecodedCache(codec, inputs),
            _create_rulebook(settings, follower, latest_learning),
        )
        apps = [AGENTS[name](equipment) for name in names]
        _register_collector(dict(zip(names, apps, strict=True)))
        server, _ = start_http_server(0, addr="127.0.0.1")
        _announce_when_ready(apps, {"metrics": server.server_port}, on_ready)
        return run_apps(apps)
    finally:
        learning_follower.stop()
        follower.stop()


def _register_collector(apps: Mapping[str, App]) -> None:
    collector = EngineCollector()
    for stage, app in apps.items():
        collector.watch(stage, app)
    REGISTRY.register(collector)


def _create_rulebook(
    settings: Settings, follower: ConfigurationFollower, latest_learning: LatestLearning
) -> Rulebook:
    rulebook = Rulebook(
        follower,
        lambda config: load_rules(config, settings),
        latest_learning.knowledge,
        latest_learning.models.equip,
    )
    latest_learning.on_change = rulebook.refresh
    return rulebook


def _options(settings: Settings, kafka: Mapping[str, Property], instance: str) -> AppOptions:
    properties = {name: str(value) for name, value in kafka.items()}
    return AppOptions(
        bootstrap_servers=properties.pop("bootstrap.servers"),
        home=settings.home,
        partitions=settings.partitions,
        instance=instance,
        commit_interval_ms=settings.commit_interval_ms,
        session_timeout_ms=settings.session_timeout_ms,
        cleaning=Cleaning(settings.forget_hours),
        librdkafka=properties,
    )


def _announce_when_ready(apps: Sequence[App], ports: Mapping[str, int], on_ready: OnReady) -> None:
    pending_ids = {app.conf.id for app in apps}

    def watch(app: App) -> None:
        @app.task  # type: ignore[untyped-decorator]
        async def announce() -> None:
            while not app.tables.actives_ready:
                await asyncio.sleep(_READY_POLL_S)
            pending_ids.discard(app.conf.id)
            if not pending_ids:
                exempt_from_collection()
                on_ready(ports)

    for app in apps:
        watch(app)
