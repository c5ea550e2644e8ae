"""`kairos bench snapshots`: age of the knowledge that decisions are made with.

Each interaction is a purchase, which triggers a message and is the goal of the earlier ones, so
that the learner has the most to count. A decision names its snapshot, which has the times of its
publication and of its latest evidence. If the agents fall behind at the rate, ages are those of
their backlog; the report states whether they do, and a lower rate is measured too.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from pipeline.home.codec import open_codec
from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.learning import SNAPSHOT, LearningRecord
from pipeline.rules.knowledge import knowledge_of
from pipeline.stack.plan import LEARNER
from tests.benchmarks import configurations
from tests.benchmarks.figures import percentile
from tests.benchmarks.latency import Say
from tests.benchmarks.load import Client
from tests.benchmarks.processes import Program, running
from tests.benchmarks.rig import Rig
from tests.benchmarks.systems import apply_bundle, worker_programs
from tests.benchmarks.traffic import CUSTOMERS, DecidedTraffic

_WARM_UP_RATE: Final = 200.0
_BACKLOG_MS: Final = 500.0
"""Median time from interaction to decision that only a backlog explains."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of a time in ms."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, times_ms: Iterable[float]) -> "Spread":
        """Return the percentiles of these times."""
        sorted_times = sorted(times_ms)
        return cls(*(percentile(sorted_times, share) for share in (0.5, 0.99, 1.0)))


@dataclass(frozen=True, slots=True)
class SnapshotAge:
    """Ages of the snapshots that decisions name, at their moments, by a configuration of
    `campaigns` campaigns, and the time from interaction to decision. `snapshots`: number of
    different snapshots; `early`: decisions before the first."""

    rate: int
    campaigns: int
    decisions: int
    snapshots: int
    since_published: Spread
    since_evidence: Spread
    latency: Spread
    learner_cores: float
    missing: int
    early: int

    @property
    def is_behind(self) -> bool:
        """Whether the agents did not keep pace with the rate."""
        return self.missing > 0 or self.latency.p50 > _BACKLOG_MS


def measure(rig: Rig, campaigns: int, load: tuple[int, float], say: Say) -> SnapshotAge:
    """Measure decisions under `load` (events a second, seconds) of customers who return."""
    rate, seconds = load
    apply_bundle(rig.settings, configurations.learning_bundle(campaigns))
    learner = Program(LEARNER, rig.kairos_command("learner"), announced_name=LEARNER)
    traffic = DecidedTraffic(open_codec(rig.settings), configurations.EVENT)
    with running((*worker_programs(rig, 1), learner), rig.home, rig.environment) as processes:
        pids = {process.program.name: process.child.pid for process in processes}
        with closing(Client(rig.settings.kafka(), traffic, pids)) as client:
            say("warming up")
            client.run_open_loop(_WARM_UP_RATE, 2 * CUSTOMERS / _WARM_UP_RATE)
            warm_ids = {decision.decision_id for _, decision in _decisions(rig)}
            say(f"{campaigns} campaigns, {rate:,} events/s beside the learner")
            sample = client.run_open_loop(rate, seconds)
    decisions = [
        (written_ms, decision)
        for written_ms, decision in _decisions(rig)
        if decision.decision_id not in warm_ids
    ]
    snapshots = {knowledge_of(snapshot).name: snapshot for snapshot in _snapshots(rig)}
    dated_snapshots = [
        (written_ms, snapshots[decision.snapshot])
        for written_ms, decision in decisions
        if decision.snapshot in snapshots
    ]
    return SnapshotAge(
        rate=rate,
        campaigns=campaigns,
        decisions=len(decisions),
        snapshots=len({snapshot.number for _, snapshot in dated_snapshots}),
        since_published=Spread.of(
            written_ms - snapshot.published_at for written_ms, snapshot in dated_snapshots
        ),
        since_evidence=Spread.of(
            written_ms - snapshot.as_of for written_ms, snapshot in dated_snapshots
        ),
        latency=Spread.of(sample.latencies_ms),
        learner_cores=sample.cpu[LEARNER],
        missing=sample.record_count - len(sample.latencies_ms),
        early=len(decisions) - len(dated_snapshots),
    )


def _decisions(rig: Rig) -> Iterator[tuple[int, Decision]]:
    """Return pairs of the time at which a decision was written (epoch ms) and the decision. Its
    `decided_at` is the interaction's time, which is earlier if the agents are behind."""
    decisions = Records.of(rig.settings).read_all(topics.DECISIONS, Decision)
    return ((entry.timestamp, decision) for entry, decision in decisions)


def _snapshots(rig: Rig) -> Iterator[LearningRecord]:
    records = Records.of(rig.settings).read_all(topics.LEARNING, LearningRecord)
    return (snapshot for entry, snapshot in records if entry.key == SNAPSHOT)
