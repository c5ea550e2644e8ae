"""`kairos bench apply`: interactions beside a `config apply` that concerns every profile.

Each customer interacts once, through all four stages. Then some interact again at a steady rate,
while `kairos config apply`, as a process of its own, changes a segment and adds one that reads a
new metric: the metric is filled from the log, and every profile is evaluated.
"""

import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import msgspec

from pipeline.adapters.consumer_groups import stage_groups
from pipeline.adapters.lag import LagReader
from pipeline.home.codec import open_codec
from tests.benchmarks import configurations
from tests.benchmarks.figures import Passages, percentile
from tests.benchmarks.latency import Say
from tests.benchmarks.load import Client
from tests.benchmarks.rig import Rig
from tests.benchmarks.systems import SYSTEMS, Stages
from tests.benchmarks.traffic import InteractionTraffic

_BACKLOG_RATE: Final = 50
"""Assumed rate (events/s) of the backlog, far below the real one, so that the wait does not
fail."""
_SETTLE_S: Final = 60.0
_LIMIT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class ApplyPlan:
    """Number of `profiles`, `rate` (events/s) of their interactions, and `seconds` before and after
    the change."""

    profiles: int
    rate: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ApplyPhase:
    """Latency from interaction to action (ms): `p50`, `p99`, `max`, of `events`."""

    phase: str
    events: int
    p50: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class ApplyCost:
    """Cost of the change; `apply_s`: from the command's start to its end; `filled` parts of
    profiles and `evaluated` profiles, as the command reports them; `missing`: interactions without
    their action."""

    profiles: int
    phases: tuple[ApplyPhase, ...]
    apply_s: float
    filled: int
    evaluated: int
    missing: int

    @property
    def profiles_per_s(self) -> float:
        return self.evaluated / self.apply_s


class _Effect(msgspec.Struct):
    """Output of `config apply --json`."""

    filled: int
    evaluated: int


def measure(rig: Rig, plan: ApplyPlan, say: Say) -> ApplyCost:
    """Measure the demonstration's configuration on one worker."""
    system = SYSTEMS["demo"]
    assert isinstance(system, Stages)
    codec = open_codec(rig.settings)
    channels = (system.channel,)
    traffic = InteractionTraffic(codec, configurations.EVENT, channels, plan.profiles)
    with system.running(rig, 1), closing(Client(rig.settings.kafka(), traffic, {})) as client:
        say(f"{plan.profiles:,} profiles")
        client.drain_backlog(plan.profiles, plan.profiles / _BACKLOG_RATE)
        assert LagReader(rig.settings.kafka(), stage_groups()).wait_until_idle(_SETTLE_S)
        say(f"{plan.rate} events/s while a configuration is applied")
        change = _AppliedChange(rig, plan.seconds)
        passages = client.measure_passages_during(plan.rate, _LIMIT_S, change.apply)
    return change.summary(plan.profiles, passages)


class _AppliedChange:
    """Configuration that is applied while the load runs."""

    def __init__(self, rig: Rig, seconds: float) -> None:
        self._rig = rig
        self._seconds = seconds
        self._folder = rig.home / "changed"
        configurations.write_changed_demo(self._folder)
        self._effect = _Effect(0, 0)
        self._begin_s = self._end_s = 0.0

    def apply(self) -> None:
        time.sleep(self._seconds)
        self._begin_s = time.monotonic()
        command = self._rig.kairos_command("config", "apply", str(self._folder), "--json")
        result = subprocess.run(
            command, env=self._rig.environment, stdout=subprocess.PIPE, check=True
        )
        self._end_s = time.monotonic()
        self._effect = msgspec.json.decode(result.stdout, type=_Effect)
        time.sleep(self._seconds)

    def summary(self, profiles: int, passages: Passages) -> ApplyCost:
        begin_s, end_s = self._begin_s, self._end_s
        phases = (
            _phase("before", passages.latencies_ms(0.0, begin_s)),
            _phase("during the change", passages.latencies_ms(begin_s, end_s)),
            _phase("after", passages.latencies_ms(end_s, float("inf"))),
        )
        return ApplyCost(
            profiles=profiles,
            phases=phases,
            apply_s=end_s - begin_s,
            filled=self._effect.filled,
            evaluated=self._effect.evaluated,
            missing=passages.missing_count,
        )


def _phase(name: str, latencies: Sequence[float]) -> ApplyPhase:
    p50, p99, maximum = (percentile(latencies, share) for share in (0.50, 0.99, 1.0))
    return ApplyPhase(name, len(latencies), p50, p99, maximum)
