"""`kairos insights`: figures about campaigns, journeys and channels, from tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, TypeVar, get_args

import msgspec
import typer

from pipeline.cli import insights_decisions, insights_recommend
from pipeline.cli.console import JsonOption, err, fail, out, print_json, print_table
from pipeline.cli.insights_anomalies import anomalies
from pipeline.cli.insights_campaigns import campaigns, load_statistics, print_lifts
from pipeline.cli.insights_impact import impact
from pipeline.cli.insights_journeys import journeys
from pipeline.cli.insights_options import (
    EngineOption,
    MemoryOption,
    SpillOption,
    TimezoneOption,
    UntilOption,
    duration,
    open_engine,
    require_choice,
)
from pipeline.cli.insights_report import report, usual_goal
from pipeline.cli.insights_segments import segments
from pipeline.cli.insights_topics import campaigns_of, topic_folder
from pipeline.cli.times import optional_ms
from pipeline.config.model import Campaign
from pipeline.insights.attribution import MODELS, ModelOptions
from pipeline.insights.campaign_facts import Period
from pipeline.insights.campaigns import Lift
from pipeline.insights.engines import Queries
from pipeline.insights.heuristics import DIRECT
from pipeline.insights.markov import ORDERS
from pipeline.insights.message_credit import (
    lifts_of_unit,
    load_touches,
    message_journeys,
)
from pipeline.insights.off_policy import Bounds, Estimate, OffPolicy, evaluate, read_log
from pipeline.insights.questions import (
    AUTO,
    AttributionAnswer,
    AttributionQuestion,
    BootstrapDraws,
    Order,
    answer,
    credit_journeys,
)
from pipeline.insights.shapley import Worth
from pipeline.insights.tables import TableError
from pipeline.insights.topic_files import DECISIONS, SEGMENTED
from pipeline.insights.touches import TOUCH_KINDS, Support, TouchOptions, Unit

app = typer.Typer()
app.command()(journeys)
app.command()(campaigns)
app.command()(impact)
app.command()(anomalies)
app.command()(report)
app.command()(segments)

_T = TypeVar("_T")
_SCOPES: Final = {"global": "global credit", "journey": "per-journey credit"}
_MAX_ROWS: Final = 100
_CREDIT_NOT_CAUSE: Final = "Credit, not cause: only a holdout measures what a channel adds."


_PathsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Aggregated paths: path (channels joined by ` > `), conversions, value, nulls."
    ),
]
_TouchesOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Touches: profile_id, occurred_at, channel, kind (touch or conversion), value; "
        "where they are known event_id, touch (sent, seen, clicked), campaign, message, "
        "sequence."
    ),
]
_TopicsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="In place of a table: DIR/decisions and DIR/interactions.segmented, as `kairos "
        "replay` writes them; messages are touches.",
    ),
]
_ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Configuration with the campaigns' goals, for --topics."),
]
_GoalOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Name of the goal event, for --topics; default: most campaigns' goal."),
]
_ModelOption: TypeAlias = Annotated[str, typer.Option(help=", ".join(MODELS))]
_OrderOption: TypeAlias = Annotated[
    str, typer.Option(help="Order of a Markov model: 1 to 4, or auto.")
]
_NullsOption: TypeAlias = Annotated[
    bool, typer.Option(help="Whether Markov models look at paths without conversion.")
]
_UnitOption: TypeAlias = Annotated[str, typer.Option(help=", ".join(get_args(Unit)))]
_OnlyOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help=f"Only touches that were {', '.join(TOUCH_KINDS)}; of --topics default: seen."
    ),
]
_LookbackOption: TypeAlias = Annotated[
    str, typer.Option(help="Time for which a touch may get credit.")
]
_SessionOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Time within which a repeated touch does not count."),
]
_HalfLifeOption: TypeAlias = Annotated[
    str, typer.Option(help="Half-life of credit under time-decay.")
]
_SinceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Beginning of the table; a conversion that looks back further is left out."),
]
_DirectOption: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="Channels that last-non-direct ignores.")
]
_WorthOption: TypeAlias = Annotated[
    str, typer.Option(help=f"Of a coalition under shapley-full: {', '.join(get_args(Worth))}.")
]
_ReplicatesOption: TypeAlias = Annotated[
    int, typer.Option(min=0, help="Draws of the bootstrap; 0: no intervals.")
]
_SeedOption: TypeAlias = Annotated[
    int, typer.Option(min=0, help="Of the bootstrap and of order auto.")
]


@app.command()
def attribution(  # noqa: PLR0913 - a command's options
    paths: _PathsOption = None,
    touches: _TouchesOption = None,
    topics: _TopicsOption = None,
    config: _ConfigOption = None,
    goal: _GoalOption = None,
    model: _ModelOption = "markov",
    order: _OrderOption = "1",
    nulls: _NullsOption = True,
    unit: _UnitOption = "channel",
    only: _OnlyOption = None,
    lookback: _LookbackOption = "30d",
    session: _SessionOption = None,
    half_life: _HalfLifeOption = "7d",
    since: _SinceOption = None,
    until: UntilOption = None,
    timezone: TimezoneOption = None,
    direct: _DirectOption = None,
    worth: _WorthOption = "conversions",
    replicates: _ReplicatesOption = 200,
    seed: _SeedOption = 0,
    engine: EngineOption = "duckdb",
    memory: MemoryOption = None,
    spill: SpillOption = None,
    json: JsonOption = False,
) -> None:
    """Credit channels for conversions and their value, from touches, from aggregated paths, or from
    the messages of replayed topics.

    Credits add up to the totals. Intervals (of conversions, 95 %) are by bootstrap over customers,
    for aggregated paths over paths. With --topics the lift over holdouts is shown beside credit.
    """
    inputs = [path for path in (paths, touches, topics) if path is not None]
    if len(inputs) != 1:
        raise typer.BadParameter("say one of --paths FILE, --touches FILE, --topics DIR")
    if topics is None and (config or goal):
        raise typer.BadParameter("--config and --goal go with --topics")
    [file] = inputs
    question = AttributionQuestion(
        file=file,
        paths=paths is not None,
        model=require_choice("--model", model, tuple(MODELS)),
        order=_order(order),
        options=ModelOptions(
            nulls=nulls,
            direct=frozenset(direct) if direct else DIRECT,
            worth=require_choice("--worth", worth, get_args(Worth)),
        ),
        touches=TouchOptions(
            unit=require_choice("--unit", unit, get_args(Unit)),
            touch=None if only is None else require_choice("--only", only, TOUCH_KINDS),
            lookback_ms=duration(lookback),
            session_ms=duration(session) if session else 0,
            since_ms=optional_ms(since),
            until_ms=optional_ms(until),
            zone=timezone,
        ),
        half_life_ms=duration(half_life),
        draws=BootstrapDraws(replicates, seed),
    )
    with open_engine(engine, memory, spill) as queries:
        if topics is None:
            lifts, result = None, answer(question, queries)
        else:
            lifts, result = _credit_messages(question, queries, campaigns_of(config, topics), goal)
    if json:
        print_json(_plain(result, question.touches, lifts))
    else:
        _print_attribution(result, question)
        if lifts is not None:
            print_lifts("Measured with customers held out", lifts)


def _credit_messages(
    question: AttributionQuestion,
    queries: Queries,
    campaigns: Sequence[Campaign],
    goal: str | None,
) -> tuple[tuple[Lift, ...], AttributionAnswer]:
    """Return the measured lift of messages, and their credit."""
    touches = question.touches
    with topic_folder(question.file, (DECISIONS, SEGMENTED)) as folder:
        goal_event = goal or usual_goal(campaigns)
        if goal_event is None:
            raise TableError("--goal: say the event that is wanted: no campaign's goal is known")
        period = Period(until_ms=touches.until_ms)
        lifts = load_statistics(queries, folder, period, campaigns).lifts
        load_touches(queries, goal_event, touches.touch or "seen")
        credit = credit_journeys(question, message_journeys(queries, folder, touches))
    return lifts_of_unit(lifts, touches.unit), credit


_LogOption: TypeAlias = Annotated[
    Path,
    typer.Option(
        help="Decisions (CSV, Parquet, NDJSON): reward, propensity, target_propensity; for DR "
        "q_logged and q_target."
    ),
]
_AnytimeOption: TypeAlias = Annotated[
    bool,
    typer.Option("--anytime", help="Intervals that hold at every n, for bounded rewards."),
]
_LeastOption: TypeAlias = Annotated[
    float, typer.Option("--least", help="Least possible reward, for --anytime.")
]
_MostOption: TypeAlias = Annotated[
    float, typer.Option("--most", help="Greatest possible reward, for --anytime.")
]


@app.command("off-policy")
def off_policy(
    log: _LogOption,
    anytime: _AnytimeOption = False,
    min_reward: _LeastOption = 0.0,
    max_reward: _MostOption = 1.0,
    memory: MemoryOption = None,
    json: JsonOption = False,
) -> None:
    """Estimate the reward of another policy on the decisions of a log.

    IPS, self-normalised IPS and, where the log has a model's rewards, the doubly robust estimate,
    with 95 % intervals.
    """
    with open_engine("duckdb", memory) as queries:
        decisions = read_log(queries, log)
    try:
        estimate = evaluate(decisions, Bounds(min_reward, max_reward) if anytime else None)
    except ValueError as error:
        fail(f"{log}: reward: {error}: say --least and --most")
    if json:
        print_json(estimate)
    else:
        _print_off_policy(estimate)


app.command("recommend")(insights_recommend.recommendations)
app.command("decisions")(insights_decisions.decisions)


def _order(text: str) -> Order:
    if text == AUTO:
        return "auto"
    if text in map(str, ORDERS):
        return int(text)
    raise typer.BadParameter(f"--order {text}: is none of {', '.join(map(str, ORDERS))}, {AUTO}")


def _plain(
    result: AttributionAnswer, touches: TouchOptions, lifts: tuple[Lift, ...] | None
) -> dict[str, Any]:
    """Return the answer for JSON: for aggregated paths the attribution alone, for touches also its
    support, for messages also the measured lift."""
    plain: dict[str, Any] = msgspec.to_builtins(result.attribution)
    if result.support is not None:
        plain["credit"] = result.scope
        plain["unit"] = touches.unit
        plain["support"] = result.support
    if lifts is not None:
        plain["note"] = _CREDIT_NOT_CAUSE
        plain["measured"] = lifts
    return plain


def _print_attribution(credit: AttributionAnswer, question: AttributionQuestion) -> None:
    result = credit.attribution
    order = f", order {result.order}" if result.order else ""
    print_table(
        f"{result.model}{order}: {_SCOPES[credit.scope]}",
        [question.touches.unit, "conversions", "95 %", "value", "removal effect"],
        [
            (
                channel.channel,
                f"{channel.conversions:,.1f}",
                _range(channel.low, channel.high),
                f"{channel.value:,.2f}",
                "" if channel.removal_effect is None else f"{channel.removal_effect:.1%}",
            )
            for channel in result.channels[:_MAX_ROWS]
        ],
    )
    if len(result.channels) > _MAX_ROWS:
        out.print(f"... and {len(result.channels) - _MAX_ROWS:,} more: --json has them all")
    out.print(f"{result.conversions:,.0f} conversions, value {result.value:,.2f}")
    if credit.support is not None:
        _print_support(credit.support)
    if not result.channels:
        out.print("There is no touch and no conversion to credit.")
    err.print(_CREDIT_NOT_CAUSE)


def _print_support(support: Support) -> None:
    touches = ", ".join(f"{count:,} {kind}" for kind, count in support.touches.items())
    out.print(
        f"From {support.journeys:,} journeys of {support.customers:,} customers; touches: "
        f"{touches or 'none'}."
    )
    out.print(
        f"Left out: {support.unfinished:,} journeys that may still convert, {support.unseen:,} "
        f"conversions that look back further than the table, {support.repeated:,} repeated rows."
    )


def _print_off_policy(policy: OffPolicy) -> None:
    estimates = {"IPS": policy.ips, "self-normalised IPS": policy.snips, "doubly robust": policy.dr}
    print_table(
        "Mean reward of the target policy",
        ["estimate", "value", "95 %"],
        [
            (name, _number(estimate), _range(estimate.low, estimate.high, 6))
            for name, estimate in estimates.items()
            if estimate is not None
        ],
    )
    out.print(f"{policy.n:,} decisions, worth {policy.ess:,.1f} of the target policy's own")


def _number(estimate: Estimate) -> str:
    return "not known" if estimate.value is None else f"{estimate.value:.6g}"


def _range(low: float | None, high: float | None, digits: int = 0) -> str:
    if low is None or high is None:
        return ""
    return f"{low:.{digits}g} to {high:.{digits}g}" if digits else f"{low:,.1f} to {high:,.1f}"
