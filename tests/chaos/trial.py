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
class Result:
    """Result of a trial. `copies`: records that stages wrote again; `duplicates`: repeated records
    of `actions.*`; `redeliveries`: posts of known keys at the receiver; `outages_s`: of each kill
    the time to the first decision on later inputs, in the partition that waited longest; `problems`
    by check."""

    fault: str
    records: int
    retries: int
    copies: int
    duplicates: int
    redeliveries: int
    dead_letters: int
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
    """Trials in one stack, one after the other; each checks the interactions of all so far."""

    def __init__(
        self, stack: Stack, inbox: Inbox, seed: int, judgement: Judgement | None = None
    ) -> None:
        self.judgement = judgement or Judgement()
        self.results: list[Result] = []
        self.accepted_ids: set[str] = set()
        self.posts: Counter[str] = Counter()
        self.excused_copies: set[tuple[str, str]] = set()
        self.stack = stack
        self._inbox = inbox
        self._seed = seed

    def run(self, fault: Fault, rate: float, customers: int | None = None) -> Result:
        """Inflict `fault` under load; with `customers`, wait until all of them have sent
        everything."""
        name = fault.__name__.replace("_", " ")
        random = Random(f"{self._seed}/{name}")
        load = Load(fault.__name__.replace("_", "-"), self._seed, rate, customers)
        traffic = Traffic(self.stack.url, load).start()
        kills = len(self.stack.kills)
        try:
            sleep(_LEAD_S)
            fault(self.stack, random)
            assert traffic.is_running, "the load ended before the fault"
            sleep(_TAIL_S)
        finally:
            traffic.join() if customers else traffic.stop()
        self.stack.wait_until_ready(GATEWAY)
        roll_call = call_the_roll(self.stack.url, load.run, self.stack.partitions)
        self.stack.wait_until_idle()
        sleep(_MAX_WAIT_S)
        self.stack.wait_until_idle()
        self.accepted_ids |= traffic.accepted_ids | roll_call
        self.posts += traffic.posts
        trial, problems = self._wait_for_eventual_checks(roll_call)
        if fault in STANDSTILLS:
            self.excused_copies |= copies(trial.evidence)
        result = self._judge(trial, problems, name, traffic.retries, self.stack.kills[kills:])
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
            evidence=Evidence.of(self.stack.settings),
            posts=self.posts,
            accepted_ids=self.accepted_ids,
            delivered_ids=self._inbox.delivered_keys,
            altered_ids=self._inbox.altered_keys,
            roll_call=roll_call,
            partitions=self.stack.partitions,
            excused_copies=self.excused_copies,
            fenced=self.stack.was_fenced,
        )

    def _judge(
        self, trial: Trial, eventual_problems: Problems, name: str, retries: int, kills: list[float]
    ) -> Result:
        """Return the result; checks in `eventual_problems` are not repeated, since the log
        grows."""
        evidence = trial.evidence
        checks = [
            check for check in self.judgement.checks if check.__name__ not in eventual_problems
        ]
        problems = {check.__name__: check(trial) for check in checks} | eventual_problems
        past_results = self.results
        return Result(
            fault=name,
            records=len(evidence.interactions) - sum(result.records for result in past_results),
            retries=retries,
            copies=len(copies(evidence)) - sum(result.copies for result in past_results),
            duplicates=len(evidence.actions)
            - len({action.action_id for action in evidence.actions})
            - sum(result.duplicates for result in past_results),
            redeliveries=self._inbox.repeat_count
            - sum(result.redeliveries for result in past_results),
            dead_letters=len(evidence.dead_letters)
            - sum(result.dead_letters for result in past_results),
            outages_s=tuple(_outage_s(evidence, kill_s) for kill_s in kills),
            problems=problems,
        )


def _outage_s(evidence: Evidence, kill_s: float) -> float:
    waits_s: dict[int, float] = {}
    for entry, decision in evidence.decisions:
        interaction = evidence.first_interactions.get(decision.event_id)
        if interaction is not None and interaction.received_at >= kill_s * 1000:
            wait_s = waits_s.get(entry.partition, float("inf"))
            waits_s[entry.partition] = min(wait_s, entry.timestamp / 1000 - kill_s)
    return max(waits_s.values(), default=float("inf"))


def table(results: list[Result]) -> str:
    """Return a table of faults by checks, `.` for one that holds and `X` for others, with
    counts."""
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
            f"{result.duplicates:6}{result.redeliveries:7}{result.dead_letters:6}  {outages}"
        )
    return "\n".join(lines)
