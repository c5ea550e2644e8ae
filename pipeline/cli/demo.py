"""`kairos demo`: an e-commerce log through the whole stack, and its results."""

import sys
from datetime import UTC, datetime, timedelta
from os.path import relpath
from pathlib import Path
from shutil import which
from typing import Annotated

import typer
from rich import progress as bars

from pipeline.cli.console import JsonOption, err, out, print_json, print_table
from pipeline.cli.insights_report import read_plan, write_report
from pipeline.cli.insights_topics import campaigns_of, topic_folder
from pipeline.demo.live import RATE, Latency, Percentiles
from pipeline.demo.run import PLAN, Options, PlayProgress, Result
from pipeline.demo.run import run as run_demo
from pipeline.demo.summary import Summary
from pipeline.home.table_engine import table_engine
from pipeline.insights.campaign_facts import Period
from pipeline.insights.engines import open_duckdb
from pipeline.insights.goals import campaign_goals
from pipeline.insights.report.content import PlannedJourney, ReportQuestion
from pipeline.insights.topic_files import DECISIONS, SEGMENTED
from pipeline.settings import Settings
from pipeline.stack.control import StackError

_INTRODUCTION = (
    "Kairos demo: the e-commerce log of retentioneering 5.2.4 (Apache-2.0; synthetic, "
    "by its authors), January to June 2024, through the gateway with its own timestamps, as "
    "fast as possible. How customers react to messages is simulated (seed {seed})."
)

_PLAY_S = 60.0
"""Time (s) after which no day of the log begins, by default; the demo takes about a minute."""

_GOAL = "purchase"

_OUTCOMES = {
    "sent": "sent",
    "impression": "seen",
    "click": "clicked",
    "conversion": "converted",
    "dismiss": "closed",
}
"""Columns of the table, which fits 80 characters."""


def run(
    partitions: Annotated[int | None, typer.Option(min=1, help="Partitions of the topics.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated customers' reactions.")] = 7,
    days: Annotated[
        str | None,
        typer.Option(help="Number of days of the log to play, from the first, or `all`."),
    ] = None,
    live: Annotated[
        int, typer.Option(min=0, metavar="SECONDS", help="Duration of live traffic after the log.")
    ] = 10,
    reset: Annotated[
        bool,
        typer.Option(
            "--reset", help="Delete the contents of the home, even if no demo created them."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Play an e-commerce log; prints stages, segments, actions, latency and a hash.

    By default, it plays as many days of the log as fit into about a minute; `--days all` plays all
    31,106 events. Every run begins with an empty home. Runs over the same days give the same hash
    over the decisions, whatever the number of partitions and workers.
    """
    settings = Settings()
    if partitions is not None:
        settings = settings.model_copy(update={"partitions": partitions})
    err.print(_INTRODUCTION.format(seed=seed))
    day_count, play_s = _limits(days)
    options = Options(seed, reset, settings.workers, day_count, play_s, live)
    result = _play(settings, options)
    if json:
        print_json(result)
    else:
        _print(result)
    err.print(f"\nReport: {_write_report(settings, result.until)}", soft_wrap=True)
    err.print(f"\nThe stack is still up; stop it with: {_command()} down", soft_wrap=True)


def _limits(days: str | None) -> tuple[int | None, float | None]:
    """Return the number of days to play and the seconds for it; None: no limit."""
    if days is None:
        return None, _PLAY_S
    if days == "all":
        return None, None
    if not (days.isascii() and days.isdigit() and int(days)):
        raise typer.BadParameter(
            f"{days!r} is neither a number of days nor all", param_hint="--days"
        )
    return int(days), None


def _play(settings: Settings, options: Options) -> Result:
    columns = (
        bars.TextColumn("  {task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, console=err, refresh_per_second=4) as bar:
        task = bar.add_task("starting", total=None)

        def show(progress: PlayProgress) -> None:
            text = (
                f"log of {progress.day}"
                if progress.event_count < progress.total_count
                else f"live, {RATE}/s"
            )
            bar.update(
                task, description=text, completed=progress.event_count, total=progress.total_count
            )
            for line in progress.lines:
                _print_progress(line)

        try:
            return run_demo(settings, options, _print_progress, show)
        except StackError as error:
            err.print(error.logs, soft_wrap=True)
            raise


def _write_report(settings: Settings, last_day: str) -> Path:
    """Write the report as of the end of the log's last day, before the live traffic."""
    end = datetime.fromisoformat(last_day).replace(tzinfo=UTC) + timedelta(days=1)
    file = settings.home / "report.html"
    campaigns = campaigns_of(None, None)
    with topic_folder(None, (DECISIONS, SEGMENTED)) as folder:
        question = ReportQuestion(
            folder=folder,
            period=Period(until_ms=round(end.timestamp() * 1000)),
            campaigns=campaigns,
            goals=campaign_goals(campaigns),
            goal=_GOAL,
            by="platform",
            journey=PlannedJourney(read_plan(PLAN), PLAN),
            worth=None,
            language="en",
        )
        with open_duckdb(table_engine(settings)) as queries:
            write_report(question, queries, file)
    return file


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
        f"days 1 to {result.days} of {result.of_days} of the log, up to {result.until}: "
        f"{result.events:,} events in {result.seconds:.0f} s ({rate:,.0f}/s, each day's "
        "decisions awaited)\n"
        f"{summary.decisions:,} decisions, {result.defaulted} answers by default\n"
        f"configuration {result.configuration}\n"
        f"decisions {summary.fingerprint} (the same for every run with --days "
        f"{result.days})",
        soft_wrap=True,
    )
    out.print(_next_steps(result.url), soft_wrap=True)


def _command() -> str:
    """Return the name of this command, or its path where PATH does not contain it."""
    return "kairos" if which("kairos") else relpath(sys.argv[0])


def _next_steps(url: str) -> str:
    kairos = _command()
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
    latencies = {
        "event → action, in Kafka": latency.to_action,
        "event → decision, in Kafka": latency.to_decision,
        "POST /v1/decide → answer": latency.decide,
        "POST /v1/track → answer": latency.track,
    }
    print_table(
        f"Latency of live traffic at {RATE}/s, in milliseconds",
        ["from → to", "count", "p50", "p99", "max"],
        [[name, *_figures(percentiles)] for name, percentiles in latencies.items()],
    )
    out.print(
        f"{latency.defaulted} live answers by default (their time budget was spent), "
        f"{latency.failed} without an answer\n"
    )


def _figures(percentiles: Percentiles | None) -> list[str]:
    if percentiles is None:
        return ["0", "", "", ""]
    return [
        f"{percentiles.count:,}",
        *(f"{value:.1f}" for value in (percentiles.p50, percentiles.p99, percentiles.max)),
    ]


def _print_progress(line: str) -> None:
    err.print(f"  {line}")
