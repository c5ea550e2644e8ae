"""Factory of the agents' Faust apps, with all settings for speed and safety."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import faust
import faust.streams
from faust.stores import STORES
from faust.transport.drivers import TRANSPORTS
from mode import Service
from mode.types import ServiceT

from agents.store.restoration import TableManager
from agents.store.store import SCHEME as STORE_SCHEME
from agents.store.table import RawTable
from agents.transport.options import TransportOptions
from agents.transport.raw import RawSchema
from agents.transport.transport import SCHEME as TRANSPORT_SCHEME
from agents.transport.transport import Transport
from pipeline.adapters.cleaning import DAILY_CLEANING, Cleaning
from pipeline.adapters.private_files import make_folder

# Faust logs the start and stop of every one of its services at "info".
Service.mundane_level = "debug"
TRANSPORTS.aliases[TRANSPORT_SCHEME] = "agents.transport.transport:Transport"
STORES.aliases[STORE_SCHEME] = "agents.store.store:RocksStore"

_log = logging.getLogger(__name__)

_MAX_BUFFERED_EVENTS = 512
"""Maximum number of events buffered per agent, which are dropped and read again at a rebalance."""


@dataclass(frozen=True, slots=True)
class AppOptions:
    """Settings of a worker; two workers of one app differ in `instance` only.

    `rows_first`: hold outputs until the rows that they follow from are in the changelog.
    `lingering_topics`: topics whose records may linger, because no client waits for them.
    `cause_header`: header in which outputs name their cause; outputs that a killed worker sent to
    the topics `outputs` (a name that ends in a dot is a prefix) are not sent again.
    `cleaning`: maximum time until deleted data has left changelogs and disks.
    """

    bootstrap_servers: str
    home: Path
    partitions: int
    instance: str = "0"
    group_prefix: str = "kairos"
    commit_interval_ms: int = 250
    session_timeout_ms: int = 10_000
    rows_first: bool = False
    lingering_topics: frozenset[str] = frozenset()
    cause_header: str | None = None
    outputs: tuple[str, ...] = ()
    librdkafka: Mapping[str, str] = field(default_factory=dict)
    cleaning: Cleaning = DAILY_CLEANING

    def transport(self, name: str) -> TransportOptions:
        """Return the transport's options for the app `name`."""
        return TransportOptions(
            bootstrap_servers=self.bootstrap_servers,
            group_id=f"{self.group_prefix}.{name}",
            instance_id=f"{name}-{self.instance}",
            librdkafka=self.librdkafka,
            commit_interval_ms=self.commit_interval_ms,
            session_timeout_ms=self.session_timeout_ms,
            rows_first=self.rows_first,
            lingering_topics=self.lingering_topics,
            cause_header=self.cause_header,
            outputs=self.outputs,
            changelog_properties=self.cleaning.compacted_properties(),
        )

    def state_directory(self, name: str) -> Path:
        """Return the directory of the tables of the app `name`."""
        return self.home / "state" / name / self.instance


class App(faust.App):
    """Faust app on our transport and store."""

    def __init__(self, name: str, options: AppOptions, **settings: Any) -> None:
        self.options = options
        self.transport_options = options.transport(name)
        super().__init__(self.transport_options.group_id, **settings)

    def raw_topic(self, *names: str) -> Any:
        """Return the topics `names` as one, of bytes, with the app's number of partitions."""
        return self.topic(*names, schema=RawSchema(), partitions=self.options.partitions)

    def add_raw_table(self, name: str) -> RawTable:
        """Add a table of bytes to the app and return it."""
        table = RawTable(self, name=name, partitions=self.options.partitions)
        self.tables.add(table)
        return table

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """Leave out Faust's monitor, which costs four calls per event and whose figures are
        unused."""
        dependencies = super().on_init_dependencies()
        self.sensors.remove(self.monitor)
        return dependencies

    async def on_first_start(self) -> None:
        """Make the data directory."""
        make_folder(self.options.home, Path(self.conf.datadir))

    def fail(self, error: BaseException) -> None:
        """End the worker: from now on nothing is sent or committed."""
        cast(Transport, self.transport).fail(error)

    @property
    def failure(self) -> BaseException | None:
        """Error that ended the worker, if any."""
        reason: BaseException | None = self.crash_reason
        return cast(Transport, self.transport).failure or reason

    def on_rebalance_return(self) -> None:
        """Do nothing: tables are restored, and the rebalance over, before this is called."""

    async def _on_agent_error(self, agent: Any, exc: BaseException) -> None:
        # Faust acknowledges the event that an agent failed on: it must not be committed.
        self.fail(exc)
        await super()._on_agent_error(agent, exc)


def create_app(name: str, options: AppOptions, **settings: Any) -> App:
    """Return the app of the agent `name`; Faust's `settings` take precedence over ours.

    Raises RuntimeError where Faust has no compiled streams.
    """
    if faust.streams._CStreamIterator is None:  # type: ignore[attr-defined]
        raise RuntimeError(
            "Faust's compiled streams are missing (NO_CYTHON is set, or it was built without a C "
            "compiler): its Python streams acknowledge unprocessed events at a rebalance"
        )
    return App(
        name,
        options,
        **{
            "broker": f"{TRANSPORT_SCHEME}://",
            "store": f"{STORE_SCHEME}://",
            "datadir": str(options.state_directory(name)),
            "key_serializer": "raw",
            "value_serializer": "raw",
            "topic_partitions": options.partitions,
            "topic_disable_leader": True,
            "topic_allow_declare": True,
            "web_enabled": False,
            "web_tables_enabled": False,
            "stream_buffer_maxsize": _MAX_BUFFERED_EVENTS,
            "stream_wait_empty": True,
            "stream_recovery_delay": 0.0,
            "stream_publish_on_commit": False,
            "broker_commit_every": 1 << 62,
            "broker_session_timeout": options.session_timeout_ms / 1000,
            "broker_heartbeat_interval": options.session_timeout_ms / 4000,
            "worker_redirect_stdouts": False,
            "cython_optimizations": True,
            "TableManager": TableManager,
            **settings,
        },
    )
