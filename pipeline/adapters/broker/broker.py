"""Single-node Apache Kafka (KRaft), for machines without a cluster and for tests."""

import base64
import errno
import fcntl
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from pipeline.adapters.broker.jars import PINS, ensure_jars, pinned_jars
from pipeline.adapters.broker.java import find_java
from pipeline.adapters.broker.jvm import KafkaJvm, discard_archives, publish_archives
from pipeline.adapters.broker.options import (
    HOST,
    BrokerError,
    BrokerFailure,
    BrokerFiles,
    BrokerOptions,
    RunningBroker,
)
from pipeline.adapters.broker.ports import BrokerPorts, choose_ports, is_free
from pipeline.adapters.broker.process import recorded_process, spawn, terminate, write_atomically
from pipeline.adapters.broker.readiness import (
    last_error,
    wait_until_answering,
    wait_until_listening,
)
from pipeline.adapters.private_files import make_folder, make_home_private

_MIN_FREE_BYTES = 100 * 1024 * 1024
_FORMAT_TIMEOUT_S = 60
_MAX_PORT_ATTEMPTS = 3


class Broker:
    """Broker of one home. Any process may call any method at any time."""

    def __init__(self, options: BrokerOptions) -> None:
        self._options = options
        self._files = BrokerFiles.under(options.home)

    def start(self) -> RunningBroker | BrokerFailure:
        """Start the broker unless it runs; return once it answers."""
        try:
            with self._lock():
                return self._find_answering_broker() or self._start()
        except BrokerError as error:
            return BrokerFailure(str(error))
        except OSError as error:
            return BrokerFailure(self._explain(error))

    def stop(self) -> RunningBroker | None:
        """Stop the broker; return the stopped broker, None if none ran."""
        record = recorded_process(self._files)
        if record is None:
            return None
        process, broker = record
        self._files.stop_marker.touch()
        ended_in_time = terminate(process)
        self._files.process.unlink(missing_ok=True)
        if ended_in_time:
            publish_archives(self._files, self._options.cache_dir)
        return broker

    def status(self) -> RunningBroker | None:
        """Return the running broker, if any."""
        record = recorded_process(self._files)
        return record[1] if record else None

    def was_killed(self) -> bool:
        """Return whether the broker ended without being stopped."""
        was_stopped = self._files.stop_marker.exists() or not self._files.process.exists()
        return not was_stopped and self.status() is None

    def _find_answering_broker(self) -> RunningBroker | None:
        """Return a running broker once it answers; None if there is none, or it dies."""
        broker = self.status()
        return broker if broker and wait_until_answering(broker, self._files) else None

    def _start(self) -> RunningBroker:
        self._require_disk_space()
        self._begin_new_log()
        discard_archives(self._files)
        jvm = self._prepare_jvm()
        for _ in range(_MAX_PORT_ATTEMPTS):
            ports = choose_ports(self._options, self._files.ports)
            self._configure(ports)
            self._format(jvm)
            self._files.stop_marker.unlink(missing_ok=True)
            process = spawn(jvm.server_command(self._files), self._files, ports.client)
            broker = RunningBroker(f"{HOST}:{ports.client}", process.pid, ports.client)
            if wait_until_listening(process, ports.client) and wait_until_answering(
                broker, self._files
            ):
                return broker
            terminate(process)
            if is_free(ports.client) and is_free(ports.controller):
                break  # another process did not take a port meanwhile: trying again does not help
        raise BrokerError(f"the broker did not start: {last_error(self._files)}")

    def _begin_new_log(self) -> None:
        """Rename the previous run's log, so that errors in the log are of this run."""
        log = self._files.log
        if log.exists():
            log.replace(log.with_name(f"{log.name}.1"))

    def _prepare_jvm(self) -> KafkaJvm:
        options = self._options
        java = find_java(options.java_home)
        jars = ensure_jars(options.cache_dir, pinned_jars(), options.maven_repository)
        return KafkaJvm(java, jars, options.cache_dir)

    def _configure(self, ports: BrokerPorts) -> None:
        client, controller = f"{HOST}:{ports.client}", f"{HOST}:{ports.controller}"
        own_properties = (
            f"listeners=CLIENT://{client},CONTROLLER://{controller}\n"
            f"advertised.listeners=CLIENT://{client}\n"
            f"controller.quorum.voters=1@{controller}\n"
            f"log.dirs={self._files.data}\n"
        )
        common_properties = (PINS / "server.properties").read_text()
        write_atomically(self._files.properties, (common_properties + own_properties).encode())
        write_atomically(self._files.ports, msgspec.json.encode(ports))

    def _format(self, jvm: KafkaJvm) -> None:
        if self._files.format_record.exists():
            return
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = jvm.format_command(self._files, cluster_id)
        process = subprocess.run(command, capture_output=True, text=True, timeout=_FORMAT_TIMEOUT_S)
        if process.returncode != 0:
            reason = (process.stderr or process.stdout).strip().splitlines()[-1:]
            raise BrokerError(f"cannot format {self._files.data}: {''.join(reason)}")

    def _require_disk_space(self) -> None:
        free_bytes = shutil.disk_usage(self._files.root).free
        if free_bytes < _MIN_FREE_BYTES:
            raise BrokerError(
                f"disk full: {free_bytes >> 20} MiB free at {self._files.root}, the broker needs "
                f"{_MIN_FREE_BYTES >> 20}; free some, or set KAIROS_HOME to another disk"
            )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold a lock, so that two concurrent starts start one broker."""
        home = self._files.root.parent
        make_home_private(home)
        make_folder(home, self._files.root)
        with self._files.lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _explain(self, error: OSError) -> str:
        if error.errno == errno.ENOSPC:
            return f"disk full at {error.filename or self._files.root}: free some space"
        return f"cannot use {error.filename or self._files.root}: {error.strerror or error}"
