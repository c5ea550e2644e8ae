"""Process of the learner, which reads `decisions`, counts them, publishes snapshots, and leases
budgets.

One process reads all partitions. Its position is in its ledger; the offsets committed to its
consumer group only show its lag.
"""

import logging
import signal
import threading
import time
from typing import Final

from prometheus_client import start_http_server

from pipeline.adapters.avro import Codec
from pipeline.adapters.budget_log import read_budgets
from pipeline.adapters.clock import now_ms
from pipeline.adapters.config_follower import ConfigurationFollower
from pipeline.adapters.private_files import make_folder
from pipeline.adapters.run_state import announce, withdraw
from pipeline.config.compile import Configuration
from pipeline.decisioning.budgets.accounts import account_of
from pipeline.home.codec import open_codec
from pipeline.learner import metrics
from pipeline.learner.catching_up import catch_up
from pipeline.learner.decision_log import DecisionBatch, DecisionLog
from pipeline.learner.lease_writer import LeaseWriter
from pipeline.learner.ledger import EvidenceLedger
from pipeline.learner.snapshots import SnapshotPublisher
from pipeline.learner.treasury import Treasury
from pipeline.settings import Settings

_START_S: Final = 30.0
_EXPIRY_INTERVAL_S: Final = 60.0
_FIRST_LEASES_S: Final = 20.0
_ENDLESS_HALF_LIFE_MS: Final = 10**15
"""Half-life if none is configured: evidence does not fade."""

_log = logging.getLogger("kairos.learner")


def run(settings: Settings, name: str, group: str) -> None:
    """Learn until SIGTERM or SIGINT. Raises if the process cannot go on.

    `name`: its name in the list of processes; `group`: the consumer group that shows its lag.
    """
    announce(settings.home, name, "starting")
    stop_event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop_event.set())
    codec = open_codec(settings)
    configurations = ConfigurationFollower(settings.kafka(), codec)
    configurations.start(_START_S)
    folder = settings.home / "state" / name
    make_folder(settings.home, folder)
    ledger = EvidenceLedger(folder / "evidence")
    try:
        ports = {"metrics": start_http_server(0, "127.0.0.1")[0].server_port}
        log = DecisionLog(settings, codec, group)
        learner = _Learner(settings, codec, ledger, configurations, log)
        catch_up(log, ledger, learner.fold, stop_event)
        ledger.reopen_overdue()
        learner.lease_first(stop_event)
        announce(settings.home, name, "ready", ports)
        learner.learn(stop_event)
        announce(settings.home, name, "stopping", ports)
    finally:
        ledger.close()
        configurations.stop()
        withdraw(settings.home, name)


class _Learner:
    """Loop of the process."""

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        ledger: EvidenceLedger,
        configurations: ConfigurationFollower,
        log: DecisionLog,
    ) -> None:
        self._log = log
        self._ledger = ledger
        self._configurations = configurations
        self._snapshot_interval_s = settings.snapshot_ms / 1000
        self._publisher = SnapshotPublisher(settings.kafka(), codec)
        self._writer = LeaseWriter(settings.kafka(), codec, log.partitions)
        self._resume(settings, codec)
        self._treasury = Treasury(ledger, self._writer, log.partitions)
        self._has_new_evidence = False
        self._publication_s = 0.0
        self._expiry_s = time.monotonic()

    def learn(self, stop_event: threading.Event) -> None:
        """Read and count decisions, publish snapshots, and lease budgets until `stop_event`."""
        while not stop_event.is_set():
            self.fold(self._log.read())
            self._lease()
            now_s = time.monotonic()
            if self._has_new_evidence and now_s - self._publication_s >= self._snapshot_interval_s:
                self._publish()
                self._publication_s = now_s
            if now_s - self._expiry_s >= _EXPIRY_INTERVAL_S:
                self._ledger.expire(self._ledger.state.as_of)
                self._expiry_s = now_s
        self._log.close()
        self._writer.close()

    def fold(self, batch: DecisionBatch) -> None:
        """Count a batch of decisions."""
        if not batch.ends:
            return
        half_life_ms = self._half_life_ms()
        count = self._ledger.fold(batch.decisions, batch.ends, half_life_ms, now_ms())
        metrics.FEEDBACK.inc(count)
        self._has_new_evidence = self._has_new_evidence or count > 0
        self._log.commit(batch.ends)

    def lease_first(self, stop_event: threading.Event) -> None:
        """Lease budgets, and wait a limited time until workers have processed the grants: without a
        lease they spend nothing."""
        deadline = time.monotonic() + _FIRST_LEASES_S
        while not stop_event.is_set() and time.monotonic() < deadline:
            self.fold(self._log.read())
            self._lease()
            if self._treasury.is_processed():
                return

    def _lease(self) -> None:
        config = self._configuration()
        if config is not None and (config.budgets or self._ledger.accounts):
            self._treasury.work(config, now_ms())

    def _resume(self, settings: Settings, codec: Codec) -> None:
        """Restore a lost ledger from the published state, or else note the newest snapshot.

        A snapshot with a greater number than the ledger's was published just before a kill.
        """
        snapshot = self._publisher.load_newest()
        number = 0 if snapshot is None else snapshot.number
        if self._ledger.is_new:
            budgets = read_budgets(settings.kafka(), codec)
            if snapshot is not None or budgets:
                _log.warning(
                    "the ledger is new: it is restored from the published snapshot and budgets",
                    extra={"snapshot": number, "budgets": len(budgets)},
                )
            accounts = {name: account_of(budget) for name, budget in budgets.items()}
            self._ledger.restore(snapshot, accounts)
        elif number > self._ledger.state.number:
            self._ledger.store_snapshot_number(number)
        metrics.SNAPSHOT_NUMBER.set(number)

    def _publish(self) -> None:
        config = self._configuration()
        if config is None or config.learning is None or config.learning.is_frozen:
            return
        record = self._publisher.publish(self._ledger, config.learning.half_life_ms, now_ms())
        self._has_new_evidence = False
        metrics.SNAPSHOTS.inc()
        metrics.SNAPSHOT_NUMBER.set(record.number)
        metrics.PUBLICATION_TIME.set(record.published_at / 1000)

    def _configuration(self) -> Configuration | None:
        return self._configurations.configuration_in_force()

    def _half_life_ms(self) -> int:
        config = self._configuration()
        if config is None or config.learning is None:
            return _ENDLESS_HALF_LIFE_MS
        return config.learning.half_life_ms
