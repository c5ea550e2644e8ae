"""Every setting of Kairos, from KAIROS_* environment variables; documented in deploy/README.md."""

import hmac
import os
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.adapters.artifacts import Artifacts
from pipeline.adapters.broker import Broker, BrokerOptions
from pipeline.adapters.broker.options import PREFERRED_PORT
from pipeline.adapters.kafka import RESERVED_SETTINGS
from pipeline.adapters.membership import DELIVERY_MS, MIN_SESSION_MS
from pipeline.adapters.private_files import make_home
from pipeline.model import sizes

PREFIX = "KAIROS_"
KAFKA_PREFIX = "KAIROS_KAFKA_"

_ADAPTER_KEY = b"kairos adapter key"

_CLIENT_DEFAULTS = {"reconnect.backoff.max.ms": 1_000, "message.max.bytes": sizes.RECORD}
"""Defaults of clients: librdkafka waits up to 10 s between attempts, which would delay reconnecting
to a restarted broker."""

_DEDICATED_SETTINGS = {
    "bootstrap.servers": "BOOTSTRAP_SERVERS",
    "metadata.broker.list": "BOOTSTRAP_SERVERS",
    "session.timeout.ms": "SESSION_TIMEOUT_MS",
    "heartbeat.interval.ms": "SESSION_TIMEOUT_MS",
}
"""Properties with settings of their own, because other parts depend on them."""

_MIN_VALUES = {
    "message.max.bytes": sizes.RECORD,
    "message.timeout.ms": DELIVERY_MS,
    "delivery.timeout.ms": DELIVERY_MS,
}


class NoBrokerError(Exception):
    """Raised when there is no Kafka to connect to; the message names the remedy."""


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kairos"


def kafka_properties(environment: Mapping[str, str]) -> dict[str, str]:
    """Return librdkafka's properties: KAIROS_KAFKA_SASL_MECHANISM=PLAIN becomes {"sasl.mechanism":
    "PLAIN"}, and so on."""
    return {
        name.removeprefix(KAFKA_PREFIX).lower().replace("_", "."): value
        for name, value in environment.items()
        if name.startswith(KAFKA_PREFIX)
    }


def kafka_variable(kafka_property: str) -> str:
    """Return the environment variable that sets a librdkafka property."""
    return KAFKA_PREFIX + kafka_property.upper().replace(".", "_")


class Settings(BaseSettings):
    """Immutable settings; the field `name` is set by KAIROS_NAME."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True)

    home: Path = Field(
        default=Path(".kairos"), description="Folder of everything that a stack writes"
    )
    cache_dir: Path = Field(
        default_factory=_user_cache,
        description="Folder, shared by all homes, of the broker's jars (default ~/.cache/kairos)",
    )
    bootstrap_servers: str | None = Field(
        default=None, description="An existing Kafka cluster; unset: the home's embedded broker"
    )
    broker_port: int = Field(
        default=PREFERRED_PORT,
        ge=0,
        le=65_535,
        description="Port of the embedded broker; unset: 9092 or, if taken, any free one; 0: any",
    )
    artifacts: Path | None = Field(
        default=None,
        description="Folder, shared by all machines of a stack, of the models and geo databases "
        "that configurations name; unset: HOME/artifacts",
    )
    score_budget_us: PositiveInt = Field(
        default=500,
        description="Most that one prediction of a model may take, in µs; a slower one is refused",
    )
    snapshot_ms: PositiveInt = Field(
        default=5_000,
        description="Shortest time between two snapshots of the learner's evidence",
    )
    model_psi: float = Field(
        default=0.25,
        gt=0,
        description="Population stability index of a model's predictions above which `kairos "
        "doctor` reports that it drifts",
    )
    model_calibration_gap: float = Field(
        default=0.05,
        gt=0,
        description="Distance of a model's mean prediction from the observed rate, above which "
        "`kairos doctor` reports that it drifts",
    )
    insights_memory: str | None = Field(
        default=None,
        description="Most memory of DuckDB in commands that read tables or topics, such as 2GB; "
        "the rest goes to disk. Unset: four fifths of the machine's",
    )
    insights_spill: Path | None = Field(
        default=None,
        description="Folder for data beyond that memory; unset: the system's temporary one",
    )
    java_home: Path | None = Field(
        default=None,
        description="Java (17 or later) for the embedded broker; unset: detected",
    )
    maven_repository: str | None = Field(
        default=None, description="Mirror to take the broker's jars from; unset: Maven Central"
    )
    partitions: PositiveInt = Field(
        default=4, description="Partitions of each topic when it is created"
    )
    retention_hours: dict[str, float] = Field(
        default_factory=dict,
        description='Hours that a topic keeps records, as JSON {"topic": hours}; -1: forever. '
        "Applied when the topic is created; the defaults are in the table of topics",
    )
    forget_hours: PositiveFloat = Field(
        default=24.0,
        description="Hours after which nothing of a person who was forgotten is left in snapshots, "
        "changelogs and the workers' state. Applied when a topic is created",
    )
    workers: str = Field(
        default="all",
        description="Processes of the agents that `kairos up` runs: all, four, all=2, or numbers "
        "by stage (identity=2,decisioning=2)",
    )
    gateway_host: str = Field(
        default="127.0.0.1", description="Address that the gateway listens on"
    )
    gateway_port: int = Field(
        default=8765, ge=0, le=65_535, description="Port of the gateway; 0: any"
    )
    decide_budget_ms: PositiveInt = Field(
        default=100, description="Time after which /v1/decide answers with the placements' defaults"
    )
    gateway_message_bytes: PositiveInt = Field(
        default=512 * 1024,
        le=sizes.MESSAGE,
        description=f"Largest body, after unpacking, of one message; at most {sizes.MESSAGE}",
    )
    gateway_batch_bytes: PositiveInt = Field(
        default=4 * 1024 * 1024,
        description="Largest body, after unpacking, of several messages; without a key in the "
        "header, that of one message counts",
    )
    gateway_batch_items: PositiveInt = Field(
        default=5_000, description="Most messages, or outcomes, of one request"
    )
    gateway_timeout_ms: PositiveInt = Field(
        default=5_000, description="Time for Kafka to acknowledge, after which the answer is 503"
    )
    gateway_connections: PositiveInt = Field(
        default=4_096,
        description="Most open connections, if there are descriptors for them; beyond that, the "
        "idlest one is closed",
    )
    gateway_connections_per_address: PositiveInt = Field(
        default=512, description="Most open connections of one address, such as a proxy's"
    )
    gateway_header_bytes: PositiveInt = Field(
        default=64 * 1024, description="Largest header of a request, its URL included"
    )
    gateway_header_timeout_s: PositiveFloat = Field(
        default=10, description="Time for a connection's or a request's header to come"
    )
    gateway_body_timeout_s: PositiveFloat = Field(
        default=30, description="Time for a request's body to come"
    )
    gateway_idle_timeout_s: PositiveFloat = Field(
        default=75, description="Time that a connection is kept between requests"
    )
    token_hours: PositiveInt = Field(
        default=168,
        description="Hours after its decision for which an outcome token is accepted; repeats of "
        "an outcome are recognised for 168",
    )
    gateway_url: str | None = Field(
        default=None, description="Where adapters report outcomes; unset: the home's own gateway"
    )
    commit_interval_ms: PositiveInt = Field(
        default=250, description="Longest time between two commits of an agent's input offsets"
    )
    session_timeout_ms: int = Field(
        default=10_000,
        ge=MIN_SESSION_MS,
        description="Silence after which a consumer's partitions go to others; "
        f"at least {MIN_SESSION_MS}",
    )
    max_action_age_s: PositiveInt = Field(
        default=300, description="An interaction older than this triggers nothing outbound"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log records shown"
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="Form of log records"
    )
    schema_registry_url: str | None = Field(
        default=None, description="A Confluent-compatible schema registry; unset: the gateway's own"
    )
    secret: str | None = Field(
        default=None,
        description="Key that signs outcome tokens and proves adapters to the gateway; unset: made "
        "once, in HOME/secret",
    )
    kafka_properties: dict[str, str] = Field(
        default_factory=lambda: kafka_properties(os.environ),
        validate_default=True,
        description="Any librdkafka property (KAIROS_KAFKA_SASL_MECHANISM is sasl.mechanism) but "
        "those on which delivery, order and groups rely",
    )

    @field_validator("kafka_properties")
    @classmethod
    def _keep_the_protocol(cls, properties: dict[str, str]) -> dict[str, str]:
        """Refuse settings that break the protocol: leases follow from sessions; a record must not
        be dropped while a later one is sent; and a worker would end on every record above the
        limit."""
        for name in properties:
            if name in _DEDICATED_SETTINGS:
                remedy = f"set {PREFIX}{_DEDICATED_SETTINGS[name]} instead"
                raise ValueError(f"{kafka_variable(name)} is not allowed: {remedy}")
            if name in RESERVED_SETTINGS:
                raise ValueError(f"{kafka_variable(name)} is not allowed: Kairos relies on its own")
        for name, minimum in _MIN_VALUES.items():
            text = properties.get(name, str(minimum))
            if not text.isdecimal() or int(text) < minimum:
                raise ValueError(f"{kafka_variable(name)} must be {minimum} or more")
        return properties

    def broker(self) -> Broker:
        """Return the embedded broker of this home."""
        return Broker(
            BrokerOptions(
                home=self.home,
                cache_dir=self.cache_dir,
                port=self.broker_port,
                port_is_fixed="broker_port" in self.model_fields_set and self.broker_port != 0,
                java_home=self.java_home,
                maven_repository=self.maven_repository,
            )
        )

    def kafka(self) -> dict[str, str | int | float | bool]:
        """Return properties of a confluent-kafka client. Raises NoBrokerError when there is no
        broker."""
        return {**_CLIENT_DEFAULTS, **self.kafka_properties, "bootstrap.servers": self._bootstrap()}

    def kept_artifacts(self) -> Artifacts:
        """Return the store of the configurations' files, by digest."""
        return Artifacts(self.artifacts or self.home / "artifacts")

    def signing_secret(self) -> str:
        """Return the key that signs outcome tokens, made at the first call when none is set."""
        return self.secret or _ensure_secret(self.home)

    def adapter_key(self) -> str:
        """Return the key by which adapters report outcomes, derived from the signing secret."""
        return hmac.new(self.signing_secret().encode(), _ADAPTER_KEY, "sha256").hexdigest()

    def _bootstrap(self) -> str:
        if self.bootstrap_servers:
            return self.bootstrap_servers
        status = self.broker().status()
        if status is None:
            raise NoBrokerError("no broker: run `kairos up` or set KAIROS_BOOTSTRAP_SERVERS")
        return status.bootstrap


def _ensure_secret(home: Path) -> str:
    """Return the secret in HOME/secret (mode 0600), made by the first process that needs it."""
    path = home / "secret"
    if path.exists():
        return path.read_text()
    make_home(home)
    descriptor, draft = tempfile.mkstemp(dir=home)  # mode 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32))
    with suppress(FileExistsError):
        os.link(draft, path)
    Path(draft).unlink()
    return path.read_text()
