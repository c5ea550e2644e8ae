"""`kairos bench latency`: systems side by side at several rates, repeats interleaved."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from tests.benchmarks.figures import RateLatency, RateSample, summarise
from tests.benchmarks.load import Client
from tests.benchmarks.rig import Rig
from tests.benchmarks.systems import SYSTEMS, SystemChoice
from tests.benchmarks.traffic import CUSTOMERS

_WARM_UP_RATE = 200.0

Say = Callable[[str], None]
"""Receiver of progress lines."""


@dataclass(frozen=True, slots=True)
class LatencyPlan:
    """Load: `seconds` for each of the rising rates (events/s), `repeats` of everything."""

    choices: Sequence[SystemChoice]
    rates: Sequence[int]
    seconds: float
    repeats: int


def measure(rig: Rig, plan: LatencyPlan, say: Say) -> list[RateLatency]:
    """Measure all systems in turn, repeatedly, so that drifts of the machine affect all alike."""
    samples: dict[tuple[str, int], list[RateSample]] = defaultdict(list)
    for repeat in range(plan.repeats):
        for choice in plan.choices:
            say(f"{choice} ({repeat + 1}/{plan.repeats})")
            for rate, sample in _measure_one(rig, choice, plan):
                samples[str(choice), rate].append(sample)
    order = {str(choice): index for index, choice in enumerate(plan.choices)}
    cells = sorted(samples, key=lambda cell: (cell[1], order[cell[0]]))
    return [summarise(system, rate, samples[system, rate], plan.repeats) for system, rate in cells]


def _measure_one(rig: Rig, choice: SystemChoice, plan: LatencyPlan) -> list[tuple[int, RateSample]]:
    """Measure up to the first rate that is not sustained, whose backlog would distort the next."""
    samples: list[tuple[int, RateSample]] = []
    with SYSTEMS[choice.name].running(rig, choice.processes) as arrangement:
        pids = {**arrangement.pids, "broker": rig.broker_pid}
        with closing(Client(rig.settings.kafka(), arrangement.traffic, pids)) as client:
            client.run_open_loop(_WARM_UP_RATE, 2 * CUSTOMERS / _WARM_UP_RATE)
            for rate in plan.rates:
                sample = client.run_open_loop(rate, plan.seconds)
                samples.append((rate, sample))
                if not sample.is_sustained:
                    break
    return samples
