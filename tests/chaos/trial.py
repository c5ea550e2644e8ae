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
from tests.chaos.evidence import Evidence
from tests.chaos.faults import STANDSTILLS, Fault
from tests.chaos.receiver import Inbox
from tests.chaos.stack import GATEWAY, Stack
from tests.chaos.traffic import Load, Traffic, call_the_roll

_BEFORE_S = 2.0
_AFTER_S = 2.0
_TIME_PASSES_S = 3.0
"""Longer than the configuration waits for anybody."""
_SETTLE_S = 60.0
"""Time for which checks that settle are asked again."""
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a trial. `copies`: records that stages wrote again; `duplicates`: repeated records
    of `actions.*`; `redelivered`: posts that the receiver knew by their key; `outages_s`: of each
    kill the time to the first decision on later inputs, in the partition that waited longest.
    `problems` by check."""

    fault: str
    records: int
    retries: int
    copies: int
    duplicates: int
    redelivered: int
    dead_letters: int
    outages_s: tuple[float, ...]
    problems: dict[str, list[str]]

    @property
    def failed(self) -> dict[str, list[str]]:
        """Problems of the checks that did not hold."""
        return {check: problems for check, problems in self.problems.items() if problems}


Problems: TypeAlias = dict[str, list[str]]
"""Problems by the name of their check."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Checks of a laboratory. Those that are `settling` compare what several processes write one
    after the other, and hold a while after everything is processed."""

    checks: Sequence[Check] = CHECKS
    settling: Sequence[Check] = ()


class Laboratory:
    """Trials in one stack, one after the other; interactions accepted once are checked ever
    after."""

    def __init__(
        self, stack: Stack, inbox: Inbox, seed: int, judgement: Judgement | None = None
    ) -> None:
        self.judgement = judgement or Judgement()
        self.results: list[Result] = []
        self.accepted: set[str] = set()
        self.posted: Counter[str] = Counter()
        self.excused: set[tuple[str, str]] = set()
        self.stack = stack
        self._inbox = inbox
        self._seed = seed

    def run(self, fault: Fault, rate: float, customers: int | None = None) -> Result:
        """Do `fault` under load; with `customers`, until all of them have sent everything."""
        name = fault.__name__.replace("_", " ")
        random = Random(f"{self._seed}/{name}")
        load = Load(fault.__name__.replace("_", "-"), self._seed, rate, customers)
        traffic = Traffic(self.stack.url, load).start()
        kills = len(self.stack.kills)
        try:
            sleep(_BEFORE_S)
            fault(self.stack, random)
            assert traffic.is_running, "the load was over before the fault was"
            sleep(_AFTER_S)
        finally:
            traffic.join() if customers else traffic.stop()
        self.stack.wait_until_ready(GATEWAY)
        roll_call = call_the_roll(self.stack.url, load.run, self.stack.partitions)
        self.stack.wait_until_idle()
        sleep(_TIME_PASSES_S)
        self.stack.wait_until_idle()
        self.accepted |= traffic.accepted | roll_call
        self.posted += traffic.posted
        trial, problems = self._settle(roll_call)
        if fault in STANDSTILLS:
            self.excused |= copies(trial.evidence)
        result = self._judge(trial, problems, name, traffic.retries, self.stack.kills[kills:])
        self.results.append(result)
        return result

    def _settle(self, roll_call: set[str]) -> tuple[Trial, Problems]:
        """Return the trial once the checks that settle hold, or after a time as it is, with their
        problems."""
        give_up_at = monotonic() + _SETTLE_S
        while True:
            trial = self._trial(roll_call)
            problems = {check.__name__: check(trial) for check in self.judgement.settling}
            if not any(problems.values()) or monotonic() > give_up_at:
                return trial, problems
            sleep(_LOOK_S)

    def differences_on_disk(self) -> list[str]:
        """Return the places where the workers' rows are not those of their changelogs."""
        stack = self.stack
        bootstrap = str(stack.settings.kafka()["bootstrap.servers"])
        with stack.without_workers():
            return list(differences(bootstrap, stack.home / "state", stack.partitions))

    def _trial(self, roll_call: set[str]) -> Trial:
        return Trial(
            evidence=Evidence.of(self.stack.settings),
            posted=self.posted,
            accepted=self.accepted,
            delivered=self._inbox.delivered,
            altered=self._inbox.altered,
            roll_call=roll_call,
            partitions=self.stack.partitions,
            excused=self.excused,
            fenced=self.stack.was_fenced,
        )

    def _judge(
        self, trial: Trial, problems_settled: Problems, name: str, retries: int, kills: list[float]
    ) -> Result:
        """Return the result; checks with `problems_settled` are not repeated: the log went on."""
        evidence = trial.evidence
        others = [
            check for check in self.judgement.checks if check.__name__ not in problems_settled
        ]
        problems = {check.__name__: check(trial) for check in others} | problems_settled
        before = self.results
        return Result(
            fault=name,
            records=len(evidence.interactions) - sum(result.records for result in before),
            retries=retries,
            copies=len(copies(evidence)) - sum(result.copies for result in before),
            duplicates=len(evidence.actions)
            - len({action.action_id for action in evidence.actions})
            - sum(result.duplicates for result in before),
            redelivered=self._inbox.repeated - sum(result.redelivered for result in before),
            dead_letters=len(evidence.dead_letters) - sum(result.dead_letters for result in before),
            outages_s=tuple(_outage_s(evidence, at) for at in kills),
            problems=problems,
        )


def _outage_s(evidence: Evidence, killed_s: float) -> float:
    first: dict[int, float] = {}
    for entry, decision in evidence.decisions:
        interaction = evidence.first_interactions.get(decision.event_id)
        if interaction is not None and interaction.received_at >= killed_s * 1000:
            at = first.get(entry.partition, float("inf"))
            first[entry.partition] = min(at, entry.timestamp / 1000 - killed_s)
    return max(first.values(), default=float("inf"))


def table(results: list[Result]) -> str:
    """Return a table of faults by checks: `.` held, `X` did not; then the counts."""
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
            f"{result.fault:46}{marks}  {result.records:8}{result.retries:8}{result.copies:7}"
            f"{result.duplicates:6}{result.redelivered:7}{result.dead_letters:6}  {outages}"
        )
    return "\n".join(lines)
