"""Options of the embedded broker, its files, and its results."""

from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
PREFERRED_PORT = 9092


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """Options of the embedded broker.

    `home`: folder of the broker's data; `cache_dir`: jars shared by all homes.
    `port`: the preferred port, 0 for any. `port_is_fixed`: whether to fail if it is in use, instead
    of choosing another. `java_home`: the Java to use, None to search for one. `maven_repository`:
    URL of a mirror, None for Maven Central.
    """

    home: Path
    cache_dir: Path
    port: int = PREFERRED_PORT
    port_is_fixed: bool = False
    java_home: Path | None = None
    maven_repository: str | None = None


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """Broker that answers at `bootstrap` ("host:port")."""

    bootstrap: str
    pid: int
    port: int


@dataclass(frozen=True, slots=True)
class BrokerFailure:
    """Reason why no broker runs, with a remedy."""

    message: str


class BrokerError(Exception):
    """Raised inside this package; callers get a `BrokerFailure`."""


@dataclass(frozen=True, slots=True)
class BrokerFiles:
    """Files of the broker under a home."""

    root: Path

    @classmethod
    def under(cls, home: Path) -> "BrokerFiles":
        return cls(home.absolute() / "broker")

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def format_record(self) -> Path:
        """File that Kafka writes when it has formatted the data directory."""
        return self.data / "meta.properties"

    @property
    def properties(self) -> Path:
        return self.root / "server.properties"

    @property
    def ports(self) -> Path:
        return self.root / "ports.json"

    @property
    def process(self) -> Path:
        return self.root / "process.json"

    @property
    def stop_marker(self) -> Path:
        """Marker that exists from a requested stop of the broker until its next start."""
        return self.root / "stopping"

    @property
    def log(self) -> Path:
        return self.root / "broker.log"

    @property
    def output(self) -> Path:
        """Output of the JVM itself (crashes; Kafka's own log is `log`)."""
        return self.root / "output.log"

    @property
    def lock(self) -> Path:
        return self.root / "lock"
