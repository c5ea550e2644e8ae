"""`kairos bench decide`: `POST /v1/decide` through gateway and all four agents, open loop.

Requests are sent when they are due, whether or not earlier ones were answered, and a latency counts
from the due moment to the answer. An empty request (`GET /healthz`) at the same rate shows the
share of client, gateway and HTTP.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final
from uuid import uuid4

import uvloop
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, encode_basic_auth

from pipeline.adapters.run_state import announcements
from pipeline.config.model import Bundle
from tests.benchmarks import configurations
from tests.benchmarks.figures import percentile
from tests.benchmarks.latency import Say
from tests.benchmarks.processes import Program, running
from tests.benchmarks.rig import Rig
from tests.benchmarks.systems import apply_bundle, worker_programs
from tests.benchmarks.traffic import CUSTOMERS

_GATEWAY: Final = "gateway"
_WARM_UP_S: Final = 10.0
_LEAD_S: Final = 0.2
_CONNECTIONS: Final = 200
_TIMEOUT: Final = ClientTimeout(5.0)
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Site:
    """Configuration, key of one of its sources, and the placements that a page asks for."""

    bundle: Callable[[], Bundle]
    write_key: str
    placements: tuple[str, ...]


SITES: Final[Mapping[str, Site]] = {
    "demo": Site(configurations.demo_bundle, "demo-live-key", ("home-hero", "cart-banner")),
    "large": Site(configurations.large_bundle, "bench-write-key", ("hero",)),
}


@dataclass(frozen=True, slots=True)
class DecidePlan:
    """Load: `rate` requests a second for `seconds`, `repeats` times; `processes` of the agents."""

    site: str
    processes: int
    rate: int
    seconds: float
    repeats: int


@dataclass(frozen=True, slots=True)
class DecideRound:
    """One round: number of `requests`; `answers`: time (ms) of each answered request, and whether
    its answer was the defaults; `empty_ms`: times of the empty requests."""

    requests: int
    answers: Sequence[tuple[float, bool]]
    empty_ms: Sequence[float]


@dataclass(frozen=True, slots=True)
class Answers:
    """Medians over the repeats, ms; `defaulted` and `failed` count over all of them."""

    site: str
    processes: int
    rate: int
    p50: float
    p95: float
    p99: float
    max: float
    p99s: tuple[float, ...]
    empty_p50: float
    empty_p99: float
    sent: int
    defaulted: int
    failed: int


def measure(rig: Rig, plan: DecidePlan, say: Say) -> Answers:
    """Measure one site's stack after its warm-up."""
    site = SITES[plan.site]
    apply_bundle(rig.settings, site.bundle())
    gateway = Program(
        _GATEWAY, rig.kairos_command("gateway", "--port", "0"), announced_name=_GATEWAY
    )
    programs = (*worker_programs(rig, plan.processes), gateway)
    with running(programs, rig.home, rig.environment):
        port = announcements(rig.home)[_GATEWAY].ports["http"]
        url = f"http://127.0.0.1:{port}"
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rounds = runner.run(_measure_rounds(url, site, plan, say))
    return _summary(plan, rounds)


async def _measure_rounds(url: str, site: Site, plan: DecidePlan, say: Say) -> list[DecideRound]:
    async with ClientSession(
        url,
        connector=TCPConnector(limit=_CONNECTIONS),
        headers={"Authorization": encode_basic_auth(site.write_key, "")},
        timeout=_TIMEOUT,
    ) as client:
        visitor = _Visitor(client, site)
        await _run_open_loop(visitor.ask, plan.rate, _WARM_UP_S)
        rounds = []
        for number in range(plan.repeats):
            say(f"{plan.site} ({number + 1}/{plan.repeats})")
            answers = await _run_open_loop(visitor.ask, plan.rate, plan.seconds)
            empty_calls = await _run_open_loop(visitor.check_health, plan.rate, plan.seconds / 2)
            complete_calls = [
                (ms, is_default) for ms, is_default in answers if is_default is not None
            ]
            rounds.append(DecideRound(len(answers), complete_calls, [ms for ms, _ in empty_calls]))
    return rounds


class _Visitor:
    """Client that sends requests in the name of each visitor of a page in turn."""

    def __init__(self, client: ClientSession, site: Site) -> None:
        self._client = client
        self._placements = site.placements

    async def ask(self, number: int) -> bool | None:
        """Ask for a decision; return whether the answer was the defaults, None if there was
        none."""
        visitor = f"visitor-{number % CUSTOMERS}"
        page = {
            "type": "page",
            "messageId": str(uuid4()),
            "userId": visitor,
            "anonymousId": f"{visitor}-{number % 2}",
            "name": "home",
            "properties": {"category": "shoes", "price": 10 + number % 90},
        }
        question = {"interaction": page, "placements": self._placements}
        try:
            async with self._client.post("/v1/decide", json=question) as response:
                answer = await response.json()
        except (ClientError, TimeoutError):
            return None
        return bool(answer["defaulted"]) if response.status == _OK else None

    async def check_health(self, _: int) -> bool | None:
        async with self._client.get("/healthz") as response:
            await response.read()
        return False


async def _run_open_loop(
    request: Callable[[int], Any], rate: int, seconds: float
) -> list[tuple[float, bool | None]]:
    """Make calls at a steady rate; return the time (ms, from the due moment) and result of each."""
    begin_s = time.monotonic() + _LEAD_S

    async def time_call(number: int) -> tuple[float, bool | None]:
        due_s = begin_s + number / rate
        result = await request(number)
        return (time.monotonic() - due_s) * 1000, result

    tasks = []
    for number in range(int(rate * seconds)):
        wait_s = begin_s + number / rate - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        tasks.append(asyncio.create_task(time_call(number)))
    return await asyncio.gather(*tasks)


def _summary(plan: DecidePlan, rounds: Sequence[DecideRound]) -> Answers:
    times = [sorted(ms for ms, _ in repeat.answers) for repeat in rounds]
    empty_calls = [sorted(repeat.empty_ms) for repeat in rounds]

    def median_percentile(samples: Sequence[Sequence[float]], share: float) -> float:
        return median(percentile(sample, share) for sample in samples)

    return Answers(
        site=plan.site,
        processes=plan.processes,
        rate=plan.rate,
        p50=median_percentile(times, 0.50),
        p95=median_percentile(times, 0.95),
        p99=median_percentile(times, 0.99),
        max=median_percentile(times, 1.0),
        p99s=tuple(percentile(series, 0.99) for series in times),
        empty_p50=median_percentile(empty_calls, 0.50),
        empty_p99=median_percentile(empty_calls, 0.99),
        sent=sum(repeat.requests for repeat in rounds),
        defaulted=sum(is_default for repeat in rounds for _, is_default in repeat.answers),
        failed=sum(repeat.requests - len(repeat.answers) for repeat in rounds),
    )
