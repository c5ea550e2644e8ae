"""Choice of the broker's ports: those of its last start, otherwise the preferred, or free ones."""

import random
import socket
import time
from pathlib import Path

import msgspec

from pipeline.adapters.broker.options import HOST, BrokerError, BrokerOptions

_RANGE = range(20_000, 32_000)
"""Ports below those of outgoing connections: a client that repeatedly calls a dead broker on a port
of that range can connect to itself, and the broker could not start again."""

_RELEASE_TIMEOUT_S = 2.0


class BrokerPorts(msgspec.Struct, frozen=True):
    """Ports of clients and of the node's own controller."""

    client: int
    controller: int


def choose_ports(
    options: BrokerOptions, record_file: Path, release_s: float = _RELEASE_TIMEOUT_S
) -> BrokerPorts:
    """Return free ports, preferably those in the file, so that a restart keeps its address.

    Raises BrokerError.

    `release_s`: longest wait for the fixed port, or for those in the file, since a killed broker
    holds its ports until its last thread has ended.
    """
    if options.port_is_fixed:
        _require_free(options.port, release_s)
        return BrokerPorts(options.port, find_free_port())
    if record_file.exists():
        ports = msgspec.json.decode(record_file.read_bytes(), type=BrokerPorts)
        if _wait_until_free(ports.client, release_s) and _wait_until_free(
            ports.controller, release_s
        ):
            return ports
    client_port = options.port if options.port and is_free(options.port) else find_free_port()
    return BrokerPorts(client_port, find_free_port())


def is_free(port: int) -> bool:
    """Return whether a server could listen at the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _wait_until_free(port: int, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _require_free(port: int, timeout_s: float) -> None:
    if not _wait_until_free(port, timeout_s):
        raise BrokerError(
            f"port {port} is taken by another process: stop it, choose another KAIROS_BROKER_PORT, "
            "or leave it unset so that a free port is chosen"
        )


def find_free_port() -> int:
    """Return a free port outside the range of outgoing connections. Raises BrokerError."""
    for port in random.sample(_RANGE, k=100):
        if is_free(port):
            return port
    raise BrokerError(f"no free port found between {_RANGE.start} and {_RANGE.stop}")
