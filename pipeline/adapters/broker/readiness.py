"""Waits for a broker that starts, and the last error that it logged."""

import socket
import time

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.adapters.broker.options import HOST, BrokerError, BrokerFiles, RunningBroker
from pipeline.adapters.broker.process import is_alive, recorded_process

_START_TIMEOUT_S = 60.0
_METADATA_TIMEOUT_S = 2.0
_POLL_S = 0.02


def wait_until_listening(process: psutil.Process, port: int) -> bool:
    """Wait until a server accepts connections at the port.

    Returns False if the process ends, or no server listens in time.
    """
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and is_alive(process):
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return True
        except OSError:
            time.sleep(_POLL_S)
    return False


def wait_until_answering(broker: RunningBroker, files: BrokerFiles) -> bool:
    """Wait until this home's cluster answers a metadata call; return False if the process ended.

    Raises BrokerError when it runs without answering.
    """
    own_id = cluster_id(files)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if recorded_process(files) is None:
            return False
        try:
            metadata = admin.list_topics(timeout=_METADATA_TIMEOUT_S)
        except KafkaException:
            continue
        if metadata.brokers and metadata.cluster_id == own_id:
            return True
        time.sleep(_POLL_S)
    raise BrokerError(
        f"the broker (pid {broker.pid}) does not answer: {last_error(files)}; "
        "`kairos broker stop` ends it"
    )


def cluster_id(files: BrokerFiles) -> str:
    """Return the id given to the data directory when it was formatted. Raises BrokerError."""
    for line in files.format_record.read_text().splitlines():
        if line.startswith("cluster.id="):
            return line.removeprefix("cluster.id=")
    raise BrokerError(
        f"{files.format_record} has no cluster.id; delete {files.data} to start afresh"
    )


def last_error(files: BrokerFiles) -> str:
    """Return the last error of the broker's log, else of the JVM's output, with the file.

    Returns the names of both files if neither has an error.
    """
    for path in (files.log, files.output):
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        errors = [line for line in lines if "ERROR" in line or "Exception" in line]
        if errors:
            return f"{errors[-1].strip()} (see {path})"
    return f"see {files.log} and {files.output}"
