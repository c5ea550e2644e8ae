"""`kairos demo`: an e-commerce log through the whole stack, and what came of it."""

import sys
from os.path import relpath
from shutil import which
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.cli.console import JsonOption, err, out, print_json, print_table
from pipeline.demo.live import RATE, Latency, Percentiles
from pipeline.demo.run import Options, Result
from pipeline.demo.run import run as run_demo
from pipeline.demo.summary import Summary
from pipeline.settings import Settings
from pipeline.stack.control import StackError

_INTRODUCTION = (
    "[bold]Kairos demo[/bold]: the e-commerce log of retentioneering 5.2.4 (Apache-2.0; synthetic, "
    "by its authors), January to June 2024, through the gateway in its own time but as fast as it "
    "goes. How customers react to messages is [bold]simulated[/bold] (seed {seed})."
)

_OUTCOMES = {
    "sent": "sent",
    "impression": "seen",
    "click": "clicked",
    "conversion": "converted",
    "dismiss": "closed",
}
"""Columns of the table that fits 80 characters."""


def run(
    partitions: Annotated[int | None, typer.Option(min=1, help="Partitions of the topics.")] = None,
    seed: Annotated[int, typer.Option(help="Chooses how the simulated customers react.")] = 7,
    days: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many days of the log.")
    ] = None,
    live: Annotated[
        int, typer.Option(min=0, metavar="SECONDS", help="Live traffic after the log.")
    ] = 10,
    reset: Annotated[
        bool, typer.Option("--reset", help="Delete what is in the home, even if no demo made it.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Play a log of 31,106 events; prints stages, segments, actions, latency and a hash.

    Every run begins with an empty home. The hash over the decisions is the same from run to run,
    whatever the number of partitions and workers.
    """
    settings = Settings()
    if partitions is not None:
        settings = settings.model_copy(update={"partitions": partitions})
    err.print(_INTRODUCTION.format(seed=seed))
    options = Options(seed, reset, settings.workers, days, live)
    result = _play(settings, options)
    if json:
        print_json(result)
    else:
        _print(result)
    err.print("\nThe stack is still up; stop it with: kairos down")


def _play(settings: Settings, options: Options) -> Result:
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, refresh_per_second=4) as bar:
        task = bar.add_task("starting", total=None)

        def progress(day: str, sent: int, total: int) -> None:
            text = f"log of {day}" if sent < total else f"live, {RATE}/s for {options.live_s} s"
            bar.update(task, description=text, completed=sent, total=total)

        try:
            return run_demo(settings, options, _say, progress)
        except StackError as error:
            err.print(error.logs, markup=False, soft_wrap=True)
            raise


def _print(result: Result) -> None:
    summary = result.summary
    _print_stages(summary)
    out.print(
        f"{summary.profiles:,} profiles; {summary.merges:,} identifiers joined another profile\n"
    )
    print_table(
        "Segments at the end",
        ["segment", "profiles"],
        [[n, s] for n, s in summary.segments.items()],
    )
    _print_campaigns(summary)
    if result.latency.track is not None:
        _print_latency(result.latency)
    rate = result.events / result.seconds
    out.print(
        f"{result.events:,} events of the log in {result.seconds:.0f} s ({rate:,.0f}/s, each day's "
        "decisions awaited)\n"
        f"{summary.decisions:,} decisions, {result.defaulted} answers by default\n"
        f"configuration {result.configuration}\n"
        f"[bold]decisions {summary.fingerprint}[/bold]",
        soft_wrap=True,
    )
    out.print(_next(result.url), markup=False, soft_wrap=True)


def _next(url: str) -> str:
    kairos = "kairos" if which("kairos") else relpath(sys.argv[0])
    return f"""
Next: {kairos} profile show customer_id:user_0000
      {kairos} profile export --all --out profiles/
      {kairos} dlq list
      {kairos} status
      {kairos} doctor
      curl -u demo-live-key: {url}/v1/decide -H 'content-type: application/json' \\
        -d '{{"interaction": {{"type": "page", "name": "home", "anonymousId": "me"}}, \
"placements": ["home-hero"]}}'"""


def _print_stages(summary: Summary) -> None:
    rows = [[s.stage, s.received, s.sent, s.dead_lettered] for s in summary.stages]
    print_table("Stages (records)", ["stage", "in", "out", "dead-lettered"], rows)


def _print_campaigns(summary: Summary) -> None:
    print_table(
        "Actions and simulated reactions",
        ["campaign", "channel", "actions", *_OUTCOMES.values()],
        [
            [c.campaign, c.channel, c.actions, *(c.outcomes.get(name, 0) for name in _OUTCOMES)]
            for c in summary.campaigns
        ],
    )


def _print_latency(latency: Latency) -> None:
    measured = {
        "event → action, in Kafka": latency.to_action,
        "event → decision, in Kafka": latency.to_decision,
        "POST /v1/decide → answer": latency.decide,
        "POST /v1/track → answer": latency.track,
    }
    print_table(
        f"Latency of live traffic at {RATE}/s, in milliseconds",
        ["from → to", "count", "p50", "p99", "max"],
        [[name, *_figures(found)] for name, found in measured.items()],
    )
    out.print(
        f"{latency.defaulted} live answers by default (their time budget was spent), "
        f"{latency.failed} without an answer\n"
    )


def _figures(found: Percentiles | None) -> list[str]:
    if found is None:
        return ["0", "", "", ""]
    return [f"{found.count:,}", *(f"{value:.1f}" for value in (found.p50, found.p99, found.max))]


def _say(line: str) -> None:
    err.print(f"  {line}", markup=False)
