"""`kairos bench stages`: an interaction's time by stage, from its action's `kairos-timing`.

`queued`: from the record's Kafka timestamp, which the broker sets as it appends it, to its
processing; `spent`: the stage's own time, up to handing its records to the producer. The
remaining time is the way of every record from its producer into the log, and of the last record to
the reader.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from agents.headers import TIMING
from pipeline.flow import STAGES
from tests.benchmarks.figures import Headers, percentile
from tests.benchmarks.latency import Say
from tests.benchmarks.load import Client
from tests.benchmarks.rig import Rig
from tests.benchmarks.systems import SYSTEMS, SystemChoice
from tests.benchmarks.traffic import CUSTOMERS

_WARM_UP_RATE = 200.0


@dataclass(frozen=True, slots=True)
class StageShare:
    """Times (ms) that records were queued for one stage and spent in it."""

    stage: str
    queued_p50: float
    queued_p99: float
    spent_p50: float
    spent_p99: float


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Time of one system at one rate (events/s); `p50`, `p99`: intended sending to arrival, ms."""

    system: str
    rate: int
    p50: float
    p99: float
    missing: int
    shares: tuple[StageShare, ...]


def measure(
    rig: Rig, choices: Sequence[SystemChoice], load: tuple[int, float], say: Say
) -> list[Breakdown]:
    """Measure each system under `load`: events a second, and seconds."""
    breakdowns = []
    for choice in choices:
        say(str(choice))
        breakdowns.append(_break_down(rig, choice, load))
    return breakdowns


def _break_down(rig: Rig, choice: SystemChoice, load: tuple[int, float]) -> Breakdown:
    rate, seconds = load
    with SYSTEMS[choice.name].running(rig, choice.processes) as arrangement:
        pids = {**arrangement.pids, "broker": rig.broker_pid}
        with closing(Client(rig.settings.kafka(), arrangement.traffic, pids)) as client:
            client.run_open_loop(_WARM_UP_RATE, 2 * CUSTOMERS / _WARM_UP_RATE)
            sample = client.run_open_loop(rate, seconds)
    timings = [_timings(headers) for headers in sample.headers]
    latencies = sorted(sample.latencies_ms)
    return Breakdown(
        system=str(choice),
        rate=rate,
        p50=percentile(latencies, 0.50),
        p99=percentile(latencies, 0.99),
        missing=sample.record_count - len(latencies),
        shares=tuple(_share(stage.name, timings) for stage in STAGES),
    )


def _timings(headers: Headers) -> dict[str, tuple[float, float]]:
    """Return the queued and the spent time (ms) by stage."""
    header = next(value for name, value in headers if name == TIMING)
    parts = (part.partition("=") for part in header.decode().split(","))
    times_by_stage = {stage: times.partition("/") for stage, _, times in parts}
    return {
        stage: (float(queued_ms), float(own_time))
        for stage, (queued_ms, _, own_time) in times_by_stage.items()
    }


def _share(stage: str, timings: Sequence[dict[str, tuple[float, float]]]) -> StageShare:
    queued_times = sorted(timing[stage][0] for timing in timings)
    own_times = sorted(timing[stage][1] for timing in timings)
    return StageShare(
        stage,
        percentile(queued_times, 0.50),
        percentile(queued_times, 0.99),
        percentile(own_times, 0.50),
        percentile(own_times, 0.99),
    )
