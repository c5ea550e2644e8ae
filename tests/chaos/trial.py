"""One fault under load, and its result."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from string import ascii_uppercase
from time import monotonic, sleep
from typing import TypeAlias

from tests.chaos.checks import CHECKS, Check, Trial, copies
from tests.chaos.disks import differences
from tests.chaos.evidence import TopicEvidence
from tests.chaos.faults import STANDSTILLS, Fault
from tests.chaos.receiver import IdempotentReceiver
from tests.chaos.stack import GATEWAY, ChaosStack
from tests.chaos.traffic import CustomerTraffic, Load, call_the_roll

_LEAD_S = 2.0
"""Time of load before the fault."""
_TAIL_S = 2.0
"""Time of load after the fault."""
_MAX_WAIT_S = 3.0
"""Time that exceeds every wait of the configuration."""
_EVENTUAL_CHECKS_S = 60.0
"""Time for which eventual checks are repeated."""
_LOOK_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class TrialResult:
    """Result of a trial. `copy_count`: records that stages wrote again; `duplicate_count`: repeated
    records of `actions.*`; `redelivery_count`: posts of known keys at the receiver; `outages_s`:
    per kill or stop, the time to the first decision on later inputs, in the partition that waited
    longest; `problems` by check."""

    fault: str
    record_count: int
    retry_count: int
    copy_count: int
    duplicate_count: int
    redelivery_count: int
    dead_letter_count: int
    outages_s: tuple[float, ...]
    problems: dict[str, list[str]]

    @property
    def failures(self) -> dict[str, list[str]]:
        """Problems, by check, without the checks that hold."""
        return {check: problems for check, problems in self.problems.items() if problems}


Problems: TypeAlias = dict[str, list[str]]
"""Problems by the name of their check."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Checks of a laboratory. The `eventual_checks` compare records of several processes, and hold
    some time after everything is processed."""

    checks: Sequence[Check] = CHECKS
    eventual_checks: Sequence[Check] = ()


class Laboratory:
    """Trials in one stack, one after the other; each trial checks the interactions of all trials so
    far."""

    def __init__(
        self,
        stack: ChaosStack,
        receiver: IdempotentReceiver,
        seed: int,
        judgement: Judgement | None = None,
    ) -> None:
        self.judgement = judgement or Judgement()
        self.results: list[TrialResult] = []
        self.accepted_ids: set[str] = set()
        self.post_counts: Counter[str] = Counter()
        self.excused_copies: set[tuple[str, str]] = set()
        self.stack = stack
        self._receiver = receiver
        self._seed = seed

    def run(self, fault: Fault, rate: float, customer_count: int | None = None) -> TrialResult:
        """Inflict `fault` under load, and return the result. The load ends after the fault; with
        `customer_count`, once that many customers have sent everything."""
        name = fault.__name__.replace("_", " ")
        random = Random(f"{self._seed}/{name}")
        load = Load(fault.__name__.replace("_", "-"), self._seed, rate, customer_count)
        traffic = CustomerTraffic(self.stack.url, load).start()
        earlier_count = len(self.stack.fault_times_s)
        try:
            sleep(_LEAD_S)
            fault(self.stack, random)
            assert traffic.is_running, "the load ended before the fault"
            sleep(_TAIL_S)
        finally:
            traffic.join() if customer_count else traffic.stop()
        self.stack.wait_until_ready(GATEWAY)
        roll_call = call_the_roll(self.stack.url, load.run, self.stack.partitions)
        self.stack.wait_until_idle()
        sleep(_MAX_WAIT_S)
        self.stack.wait_until_idle()
        self.accepted_ids |= traffic.accepted_ids | roll_call
        self.post_counts += traffic.post_counts
        trial, problems = self._wait_for_eventual_checks(roll_call)
        if fault in STANDSTILLS:
            self.excused_copies |= copies(trial.evidence)
        times_s = self.stack.fault_times_s[earlier_count:]
        result = self._judge(trial, problems, name, traffic.retry_count, times_s)
        self.results.append(result)
        return result

    def _wait_for_eventual_checks(self, roll_call: set[str]) -> tuple[Trial, Problems]:
        """Return the trial and the problems of its eventual checks, once these hold or time is
        up."""
        deadline_s = monotonic() + _EVENTUAL_CHECKS_S
        while True:
            trial = self._trial(roll_call)
            problems = {check.__name__: check(trial) for check in self.judgement.eventual_checks}
            if not any(problems.values()) or monotonic() > deadline_s:
                return trial, problems
            sleep(_LOOK_INTERVAL_S)

    def find_differences_on_disk(self) -> list[str]:
        """Return the differences between the workers' rows and their changelogs."""
        stack = self.stack
        bootstrap = str(stack.settings.kafka()["bootstrap.servers"])
        with stack.without_workers():
            return list(differences(bootstrap, stack.home / "state", stack.partitions))

    def _trial(self, roll_call: set[str]) -> Trial:
        return Trial(
            evidence=TopicEvidence.of(self.stack.settings),
            posts=self.post_counts,
            accepted_ids=self.accepted_ids,
            delivered_ids=self._receiver.delivered_keys,
            altered_ids=self._receiver.altered_keys,
            roll_call=roll_call,
            partitions=self.stack.partitions,
            excused_copies=self.excused_copies,
            fenced=self.stack.was_fenced,
        )

    def _judge(
        self,
        trial: Trial,
        eventual_problems: Problems,
        name: str,
        retry_count: int,
        times_s: list[float],
    ) -> TrialResult:
        """Return the result; checks in `eventual_problems` are not repeated, since the log
        grows."""
        evidence = trial.evidence
        checks = [
            check for check in self.judgement.checks if check.__name__ not in eventual_problems
        ]
        problems = {check.__name__: check(trial) for check in checks} | eventual_problems
        past_results = self.results
        return TrialResult(
            fault=name,
            record_count=len(evidence.interactions)
            - sum(result.record_count for result in past_results),
            retry_count=retry_count,
            copy_count=len(copies(evidence)) - sum(result.copy_count for result in past_results),
            duplicate_count=len(evidence.actions)
            - len({action.action_id for action in evidence.actions})
            - sum(result.duplicate_count for result in past_results),
            redelivery_count=self._receiver.repeat_count
            - sum(result.redelivery_count for result in past_results),
            dead_letter_count=len(evidence.dead_letters)
            - sum(result.dead_letter_count for result in past_results),
            outages_s=tuple(_outage_s(evidence, time_s) for time_s in times_s),
            problems=problems,
        )


def _outage_s(evidence: TopicEvidence, fault_s: float) -> float:
    """Return the time from a fault (epoch s) to the first decision on inputs received since, in the
    partition that waited longest; infinity if there is none."""
    waits_s: dict[int, float] = {}
    for entry, decision in evidence.decisions:
        interaction = evidence.first_interactions.get(decision.event_id)
        if interaction is not None and interaction.received_at >= fault_s * 1000:
            wait_s = waits_s.get(entry.partition, float("inf"))
            waits_s[entry.partition] = min(wait_s, entry.timestamp / 1000 - fault_s)
    return max(waits_s.values(), default=float("inf"))


def table(results: list[TrialResult]) -> str:
    """Return a table of faults by checks, `.` for a check that holds and `X` for one that does not,
    with counts."""
    checks = list(results[0].problems)
    lines = [
        f"{letter} {name.replace('_', ' ')}"
        for letter, name in zip(ascii_uppercase, checks, strict=False)
    ]
    head = "  ".join(ascii_uppercase[: len(checks)])
    lines += [
        "",
        (
            f"{'fault':46}{head}  {'records':>8}{'retries':>8}{'copies':>7}{'dup.':>6}{'redel.':>7}"
            f"{'dead':>6}"
            "  seconds from kill to output"
        ),
    ]
    for result in results:
        marks = "  ".join("X" if result.problems[name] else "." for name in checks)
        outages = " ".join(f"{seconds:.1f}" for seconds in result.outages_s)
        lines.append(
            f"{result.fault:46}{marks}  {result.record_count:8}{result.retry_count:8}"
            f"{result.copy_count:7}{result.duplicate_count:6}{result.redelivery_count:7}"
            f"{result.dead_letter_count:6}  {outages}"
        )
    return "\n".join(lines)
