"""A worker that was stopped while another took over writes no old snapshots over newer ones."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from agents.transport.murmur2 import murmur2_partition
from pipeline.model import topics
from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier
from pipeline.model.profile import Profile
from pipeline.model.stages import Identified
from tests.chaos.receiver import Inbox
from tests.chaos.stack import CONFIGURATION
from tests.chaos.traffic import WRITE_KEY
from tests.support.compacted import latest_records
from tests.support.stack import Stack, eventually, running_stack

_SESSION_MS = 12_000
_LINGER_MS = 6_000
"""So long records stay in the queue of the worker that is stopped meanwhile. It is stopped well
before that, and otherwise they are delivered well before they are given up."""
_UNTIL_PROCESSED_S = 2.0
_UNTIL_SETTLED_S = 3.0
_CUSTOMER = next(
    one
    for number in count()
    for one in [Identifier("customer_id", f"c{number}")]
    if murmur2_partition(profile_id(one).encode(), 2) == 1
)
"""Whose profile is in the second partition of two: that of the second worker."""


class _Watched(Stack):
    """One customer's records."""

    key = profile_id(_CUSTOMER)

    def view(self, event_id: str) -> None:
        message = {"userId": _CUSTOMER.value, "event": "Viewed", "messageId": event_id}
        with self.client(WRITE_KEY) as client:
            assert client.post("/v1/track", json=message).is_success

    def identified(self) -> int:
        return sum(
            one.key == self.key for one, _ in self.records.every(topics.IDENTIFIED, Identified)
        )

    def counted(self) -> int:
        """By the last snapshot of the profile."""
        last = latest_records(self.records, topics.PROFILES, Profile).get(self.key)
        return 0 if last is None else int(str(last.traits["interactions"]))

    @contextmanager
    def second_worker(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Of enrichment, with records long in its queue."""
        linger = {"KAIROS_KAFKA_LINGER_MS": str(_LINGER_MS)}
        second = self.start("worker", "enrichment", "--instance", "1", variables=linger)
        try:
            self.wait_until_ready("worker-enrichment-1")
            time.sleep(_UNTIL_SETTLED_S)
            yield second
        finally:
            second.kill()
            second.wait()


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_a_stopped_worker_writes_no_snapshot_behind_its_successor_s(tmp_path: Path) -> None:
    with Inbox().listening() as inbox:
        variables = {
            "KAIROS_PARTITIONS": "2",
            "KAIROS_SESSION_TIMEOUT_MS": str(_SESSION_MS),
            "CHAOS_RECEIVER": inbox.url,
        }
        stack = _Watched(tmp_path / "home", CONFIGURATION, variables)
        with running_stack(stack, "--workers", "all=1"), stack.second_worker() as second:
            stack.view("first")
            eventually(lambda: stack.identified() >= 1)
            time.sleep(_UNTIL_PROCESSED_S)
            assert stack.counted() == 0, "it had nothing in its queue"
            second.send_signal(signal.SIGSTOP)
            stack.view("second")
            eventually(lambda: stack.counted() == 2)
            second.send_signal(signal.SIGCONT)
            assert second.wait(40) == 1
            assert stack.counted() == 2
