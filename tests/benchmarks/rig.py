"""Rig of measurements: a home of its own with a warm broker for nothing else."""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.adapters.broker import BrokerFailure, warm_up
from pipeline.settings import PREFIX, Settings

_TIMEOUT_S = 30.0
_WARM_ROUNDS = 4_000
"""Rounds after which the JVM has compiled the broker's methods, some ten thousand calls of each."""


class NoRigError(Exception):
    """Raised when there is no broker to measure with; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class Rig:
    """Home with a broker; `broker_pid`: for its share of the CPU."""

    settings: Settings
    broker_pid: int

    @property
    def home(self) -> Path:
        return self.settings.home

    @property
    def partitions(self) -> int:
        return self.settings.partitions

    @property
    def bootstrap(self) -> str:
        assert self.settings.bootstrap_servers is not None
        return self.settings.bootstrap_servers

    @property
    def environment(self) -> dict[str, str]:
        """Environment of Kairos' processes in this home, without the caller's own settings."""
        other_variables = {
            name: value for name, value in os.environ.items() if not name.startswith(PREFIX)
        }
        return {
            **other_variables,
            "KAIROS_HOME": str(self.home),
            "KAIROS_BOOTSTRAP_SERVERS": self.bootstrap,
            "KAIROS_PARTITIONS": str(self.partitions),
            "PYTHONUNBUFFERED": "1",
        }

    def kairos_command(self, *arguments: str) -> tuple[str, ...]:
        """Return a command line of Kairos."""
        return (sys.executable, "-m", "pipeline.cli", *arguments)

    def make_topics(self, names: Iterable[str]) -> None:
        """Make one system's topics with this rig's partitions."""
        admin = self._admin()  # a reference, since futures of a deleted client fail
        requests = [NewTopic(name, self.partitions) for name in names]
        for creation in admin.create_topics(requests, operation_timeout=_TIMEOUT_S).values():
            creation.result()

    def drop_topics(self, prefix: str) -> None:
        """Delete every topic whose name begins with `prefix`."""
        admin = self._admin()
        topic_names = [
            name for name in admin.list_topics(timeout=_TIMEOUT_S).topics if name.startswith(prefix)
        ]
        if topic_names:
            for deletion in admin.delete_topics(topic_names, operation_timeout=_TIMEOUT_S).values():
                deletion.result()

    def _admin(self) -> AdminClient:
        return AdminClient(self.settings.kafka())


@contextmanager
def open_rig(partitions: int) -> Iterator[Rig]:
    """Provide a rig, and delete its files afterwards."""
    with tempfile.TemporaryDirectory(prefix="kairos-bench-") as folder:
        rig_settings = Settings(home=Path(folder), broker_port=0, partitions=partitions)
        broker = rig_settings.broker()
        broker_process = broker.start()
        if isinstance(broker_process, BrokerFailure):
            raise NoRigError(broker_process.message)
        try:
            settings = rig_settings.model_copy(
                update={"bootstrap_servers": broker_process.bootstrap}
            )
            warm_up(settings.kafka(), rounds=_WARM_ROUNDS)
            yield Rig(settings, broker_process.pid)
        finally:
            broker.stop()
