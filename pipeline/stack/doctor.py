"""Diagnosis of a home: one finding a line, each with its remedy.

Nothing is changed. What cannot be read is reported once; checks that need it are left out.
"""

import platform
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from msgspec import Struct

from pipeline.adapters.avro import RegistryError
from pipeline.adapters.broker.jars import pinned_jars
from pipeline.adapters.broker.java import MIN_MAJOR, find_java
from pipeline.adapters.broker.options import BrokerError
from pipeline.adapters.broker.ports import is_free
from pipeline.adapters.budget_log import read_budgets
from pipeline.adapters.clock import now_ms
from pipeline.adapters.lag import record_counts
from pipeline.config.compile import Configuration
from pipeline.home.applied_configuration import applied_configuration
from pipeline.home.channel_faults import find_channel_faults
from pipeline.home.codec import open_codec
from pipeline.home.last_files import find_incomplete_lists
from pipeline.home.topics import compare_topics
from pipeline.model import topics
from pipeline.settings import NoBrokerError, Settings
from pipeline.stack.budgets import early_exhaustions
from pipeline.stack.inspection import inspect
from pipeline.stack.model_drift import drifts
from pipeline.stack.partitions import with_existing_partitions
from pipeline.stack.status import StackStatus

Grade: TypeAlias = Literal["ok", "note", "bad"]
"""Grade of a finding. `note`: it works, but deserves a look; `bad`: something does not work."""

_PYTHON: Final = (3, 11)
_LOW_FREE_BYTES: Final = 2 << 30
_MIN_FREE_BYTES: Final = 200 << 20
_HIGH_LAG: Final = 1_000
_TIMEOUT_S: Final = 5.0


class Finding(Struct, frozen=True, rename={"remedy": "mend"}):
    """Result of a check; `remedy` is empty if none is needed or `text` contains it."""

    subject: str
    grade: Grade
    text: str
    remedy: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield the findings one by one, each as soon as its check is done."""
    yield _check_python()
    yield from _check_java(settings)
    yield _check_disk("home", settings.home)
    yield from _check_lists(settings.home)
    yield from _check_channels(settings.home)
    status = inspect(settings)
    yield _check_gateway_port(settings, status)
    broker = _check_broker(settings, status)
    yield broker
    if broker.grade == "ok":
        yield from _check_topics_and_content(settings)
    yield from _check_processes(status)
    yield from _check_lag(status)


def _check_topics_and_content(settings: Settings) -> Iterator[Finding]:
    """Check the topics and what they hold, which nobody can read without the schemas."""
    settings = with_existing_partitions(settings)
    schemas = _check_schemas(settings)
    configuration = applied_configuration(settings) if schemas.grade == "ok" else None
    yield _check_topics(settings, configuration)
    yield schemas
    if schemas.grade == "ok":
        yield _check_configuration(configuration)
    yield _check_dead_letters(settings)
    if schemas.grade == "ok":
        yield from _check_models(settings)
        yield from _check_budgets(settings, configuration)


def _check_python() -> Finding:
    version = platform.python_version()
    if sys.version_info < _PYTHON:
        return Finding("python", "bad", version, "install Python 3.11 or later, then `make setup`")
    return Finding("python", "ok", f"{version} at {sys.executable}")


def _check_java(settings: Settings) -> Iterator[Finding]:
    """Check Java and Kafka's jars, which only the embedded broker needs."""
    if settings.bootstrap_servers is not None:
        return
    try:
        java = find_java(settings.java_home)
    except BrokerError as error:
        yield Finding("java", "bad", f"no Java {MIN_MAJOR} or later", str(error))
    else:
        yield Finding("java", "ok", f"{java.version} at {java.executable}")
    cache = settings.cache_dir.absolute() / "maven"
    missing = sum(not (cache / jar.path).exists() for jar in pinned_jars())
    if missing:
        text = f"{missing} of Kafka's jars are missing in {cache}"
        yield Finding("jars", "note", text, "the first start downloads them (45 MB)")
    else:
        yield Finding("jars", "ok", f"Kafka's jars are in {cache}")


def _check_disk(subject: str, folder: Path) -> Finding:
    parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free_bytes = shutil.disk_usage(parent).free
    text = f"{free_bytes / (1 << 30):.1f} GiB free at {parent}"
    if free_bytes < _MIN_FREE_BYTES:
        return Finding(subject, "bad", text, "free some, or set KAIROS_HOME to another disk")
    if free_bytes < _LOW_FREE_BYTES:
        return Finding(subject, "note", text, "topics grow: free some, or shorten their retention")
    return Finding(subject, "ok", text)


def _check_lists(home: Path) -> Iterator[Finding]:
    """Report whole lists whose last or next file cannot remove members who have left."""
    for incomplete in find_incomplete_lists(home):
        if incomplete.memory == "renewed":
            text = f"the members before {incomplete.file} are lost: that file removed nobody"
            remedy = "remove by hand those whom it no longer named; the next file removes again"
        else:
            text = f"the members of {incomplete.file} are lost: the next file removes nobody"
            remedy = (
                "remove by hand those whom the next file no longer names; later files remove again"
            )
        yield Finding(f"list {incomplete.list}", "note", text, remedy)


def _check_channels(home: Path) -> Iterator[Finding]:
    """Report the channels that hold back their messages, which expire meanwhile."""
    for fault in find_channel_faults(home):
        text = f"has held back its messages since {_format_minute(fault.since_ms)}: {fault.why}"
        remedy = "correct channels.yaml, its provider's file or the adapter's environment"
        yield Finding(f"channel {fault.channel}", "bad", text, remedy)


def _format_minute(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _check_gateway_port(settings: Settings, status: StackStatus) -> Finding:
    own_ports = {port for process in status.processes for port in process.ports.values()}
    port = settings.gateway_port
    if port in own_ports:
        return Finding("port", "ok", f"{port} for the gateway is in use by this stack")
    if is_free(port):
        return Finding("port", "ok", f"{port} for the gateway is free")
    if "gateway_port" in settings.model_fields_set:
        remedy = "set KAIROS_GATEWAY_PORT to one that is free"
        return Finding("port", "bad", f"{port} is taken by another program", remedy)
    return Finding("port", "ok", f"{port} is taken by another program: the gateway takes another")


def _check_broker(settings: Settings, status: StackStatus) -> Finding:
    broker = f"{status.broker.state} {status.broker.bootstrap or ''}".strip()
    try:
        client = AdminClient({**settings.kafka(), "log_level": 0})
        count = len(client.list_topics(timeout=_TIMEOUT_S).topics)
    except NoBrokerError:
        return Finding("broker", "note", "it does not run", "start everything with `kairos up`")
    except KafkaException as error:
        remedy = "look into HOME/broker/broker.log; `kairos broker stop`, then `kairos up`"
        if settings.bootstrap_servers is not None:
            remedy = "check KAIROS_BOOTSTRAP_SERVERS and the KAIROS_KAFKA_* settings"
        return Finding("broker", "bad", f"{broker} does not answer: {error.args[0]}", remedy)
    return Finding("broker", "ok", f"{broker} answers, {count} topics")


def _check_topics(settings: Settings, configuration: Configuration | None) -> Finding:
    comparison = compare_topics(settings, configuration.channels if configuration else ())
    if comparison.mismatches:
        return Finding("topics", "bad", "; ".join(map(str, comparison.mismatches)))
    if comparison.missing:
        text = f"missing: {', '.join(comparison.missing)}"
        return Finding("topics", "bad", text, "`kairos up` creates them")
    return Finding("topics", "ok", f"all exist, {settings.partitions} partitions")


def _check_schemas(settings: Settings) -> Finding:
    registry = settings.schema_registry_url or "the gateway's own registry"
    try:
        count = len(open_codec(settings).versions)
    except RegistryError as error:
        return Finding("schemas", "bad", str(error), "check KAIROS_SCHEMA_REGISTRY_URL")
    return Finding("schemas", "ok", f"{count} versions, ids of {registry}")


def _check_configuration(configuration: Configuration | None) -> Finding:
    if configuration is None:
        remedy = "`kairos up --config DIR` (deploy/demo is an example)"
        return Finding("configuration", "bad", "none was applied", remedy)
    return Finding("configuration", "ok", f"{configuration.digest} is in force")


def _check_dead_letters(settings: Settings) -> Finding:
    count = record_counts(settings.kafka(), [topics.DEAD_LETTERS])[topics.DEAD_LETTERS]
    if count:
        return Finding("dead letters", "note", f"{count:,} so far", "`kairos dlq list` has reasons")
    return Finding("dead letters", "ok", "none")


def _check_models(settings: Settings) -> Iterator[Finding]:
    """Report the models in force whose latest predictions drift."""
    remedy = "train it again (`kairos train propensity`), or `kairos models rollback NAME`"
    for drift in drifts(settings, now_ms()):
        faults = []
        if drift.psi > settings.model_psi:
            faults.append(f"population stability index {drift.psi:.2f}")
        if drift.calibration_gap > settings.model_calibration_gap:
            faults.append(
                f"mean prediction {drift.mean_prediction:.3f}, observed {drift.observed_rate:.3f}"
            )
        if faults:
            yield Finding(f"model {drift.label}", "note", f"drifts: {', '.join(faults)}", remedy)
        else:
            yield Finding(f"model {drift.label}", "ok", f"{drift.n:,} predictions as in its test")


def _check_budgets(settings: Settings, configuration: Configuration | None) -> Iterator[Finding]:
    """Report the campaigns whose budget was exhausted before most of its period was over."""
    if configuration is None or not configuration.budgets:
        return
    records = read_budgets(settings.kafka(), open_codec(settings)).values()
    remedy = "raise its budget, or narrow its audience: `kairos insights campaigns` has its results"
    descriptions = tuple(early_exhaustions(records, configuration, now_ms()))
    yield from (Finding("budget", "note", text, remedy) for text in descriptions)
    if not descriptions:
        yield Finding("budget", "ok", "no campaign exhausted its budget early")


def _check_processes(status: StackStatus) -> Iterator[Finding]:
    for process in status.processes:
        state = process.state + (f", restarted {process.restarts}×" if process.restarts else "")
        log = f"{status.home}/log/{process.name}.log"
        if process.state == "stopped":
            yield Finding(process.name, "note", state, "start everything with `kairos up`")
        elif process.state in ("dead", "restarting"):
            yield Finding(
                process.name, "bad", state, f"look into {log}; `kairos up` starts it again"
            )
        elif process.restarts:
            yield Finding(process.name, "note", state, f"{log} has the reason")
        else:
            yield Finding(process.name, "ok", f"{state}, pid {process.pid}")


def _check_lag(status: StackStatus) -> Iterator[Finding]:
    for group, lag in status.lag.items():
        if lag > _HIGH_LAG:
            remedy = "see that its process is ready, or add workers: `kairos up --workers`"
            yield Finding(group, "note", f"{lag:,} records behind", remedy)
        else:
            yield Finding(group, "ok", f"{lag:,} records behind")
