"""Outcomes on their way to a gateway: a real HTTP server that answers as a gateway would."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from pipeline.delivery.reporter import GatewayAddress, RejectedOutcome, Reporter

GatewayAnswer = Callable[[list[str]], web.Response]
ReporterUse = Callable[[Reporter], Awaitable[Any]]


def _gateway(answer: GatewayAnswer, posts: list[list[str]]) -> web.Application:
    async def take_outcomes(request: web.Request) -> web.Response:
        posts.append((await request.json())["outcomes"])
        await asyncio.sleep(0.02)  # long enough that further outcomes are reported meanwhile
        return answer(posts[-1])

    app = web.Application()
    app.router.add_post("/v1/outcomes", take_outcomes)
    return app


def _report(answer: GatewayAnswer, use: ReporterUse) -> tuple[Any, list[list[str]]]:
    """Return the result of `use`, and the posts."""

    async def run() -> tuple[Any, list[list[str]]]:
        posts: list[list[str]] = []
        async with TestServer(_gateway(answer, posts)) as server, ClientSession() as client:
            url = str(server.make_url("")).rstrip("/")
            return await use(Reporter(client, lambda: GatewayAddress(url, "key"))), posts

    return asyncio.run(run())


def _report_many(count: int) -> ReporterUse:
    async def report(reporter: Reporter) -> list[RejectedOutcome | None]:
        return await asyncio.gather(*(reporter.report(b'"%d"' % n) for n in range(count)))

    return report


def _accept(_: list[str]) -> web.Response:
    return web.json_response({"success": True})


def test_outcomes_during_a_post_leave_together_and_once() -> None:
    answers, posts = _report(_accept, _report_many(120))
    assert answers == [None] * 120
    assert [outcome for post in posts for outcome in post] == [str(n) for n in range(120)]
    assert len(posts) < 10


def test_rejected_outcome_is_named_and_the_others_are_taken() -> None:
    def answer(outcomes: list[str]) -> web.Response:
        rejections = [{"index": outcomes.index("7"), "message": "no"}] if "7" in outcomes else []
        return web.json_response(
            {"success": len(outcomes) > len(rejections), "rejected": rejections},
            status=200 if len(outcomes) > len(rejections) else 400,
        )

    answers, _ = _report(answer, _report_many(20))
    assert answers == [None] * 7 + [RejectedOutcome(400, "no")] + [None] * 12


def test_outcomes_too_large_together_are_posted_one_by_one() -> None:
    def answer(outcomes: list[str]) -> web.Response:
        return _accept(outcomes) if len(outcomes) == 1 else web.Response(status=413, text="large")

    answers, posts = _report(answer, _report_many(10))
    assert answers == [None] * 10
    assert sorted(int(post[0]) for post in posts if len(post) == 1) == list(range(10))


def test_failing_gateway_is_asked_again() -> None:
    answers = [web.Response(status=503), web.Response(status=200, text="{}")]
    result, posts = _report(lambda _: answers.pop(0), _report_many(1))
    assert result == [None]
    assert posts == [["0"], ["0"]]


def test_cancelled_report_leaves_the_others() -> None:
    async def report(reporter: Reporter) -> list[RejectedOutcome | None]:
        tasks = [asyncio.create_task(reporter.report(b'"%d"' % n)) for n in range(5)]
        await asyncio.sleep(0.01)
        tasks[0].cancel()
        return await asyncio.gather(*tasks[1:])

    answers, posts = _report(_accept, report)
    assert answers == [None] * 4
    assert {outcome for post in posts for outcome in post} >= {"1", "2", "3", "4"}
