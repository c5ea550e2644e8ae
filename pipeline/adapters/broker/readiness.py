"""Waiting for a broker to answer, and saying why one did not."""

import socket
import time

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.adapters.broker.options import HOST, BrokerError, BrokerFiles, Running
from pipeline.adapters.broker.process import is_alive

_START_TIMEOUT_S = 60.0
_METADATA_TIMEOUT_S = 2.0
_POLL_S = 0.02


def listens(process: psutil.Process, port: int) -> bool:
    """Waits until something accepts connections at the port; False when the process ends first."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and is_alive(process):
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return True
        except OSError:
            time.sleep(_POLL_S)
    return False


def wait_until_ready(running: Running, files: BrokerFiles) -> None:
    """Returns once a metadata call is answered by this home's cluster; raises BrokerError."""
    expected = cluster_id(files)
    admin = AdminClient({"bootstrap.servers": running.bootstrap, "log_level": 0})
    process = psutil.Process(running.pid)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and is_alive(process):
        try:
            metadata = admin.list_topics(timeout=_METADATA_TIMEOUT_S)
        except KafkaException:
            continue
        if metadata.brokers and metadata.cluster_id == expected:
            return
        time.sleep(_POLL_S)
    raise BrokerError(f"the broker does not answer: {last_error(files)}")


def cluster_id(files: BrokerFiles) -> str:
    """The id given to the data directory when it was formatted."""
    for line in files.formatted.read_text().splitlines():
        if line.startswith("cluster.id="):
            return line.removeprefix("cluster.id=")
    raise BrokerError(f"{files.formatted} has no cluster.id; delete {files.data} to start afresh")


def last_error(files: BrokerFiles) -> str:
    """The last error line of the broker's log, else of what the JVM printed, and where to look."""
    for path in (files.log, files.output):
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        errors = [line for line in lines if "ERROR" in line or "Exception" in line]
        if errors:
            return f"{errors[-1].strip()} (see {path})"
    return f"see {files.log} and {files.output}"
