"""`kairos insights attribution`: credit of channels for conversions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, get_args

import msgspec
import typer

from pipeline.cli.console import JsonOption, err, out, print_json, print_table
from pipeline.cli.insights_campaigns import load_statistics, print_lifts
from pipeline.cli.insights_options import (
    EngineOption,
    MemoryOption,
    SpillOption,
    TimezoneOption,
    UntilOption,
    duration,
    open_engine,
    range_words,
    require_choice,
)
from pipeline.cli.insights_report import usual_goal
from pipeline.cli.insights_topics import campaigns_of, topic_folder
from pipeline.cli.times import optional_ms
from pipeline.config.model import Campaign
from pipeline.insights.attribution import MODELS, ModelOptions
from pipeline.insights.campaign_facts import Period
from pipeline.insights.campaigns import Lift
from pipeline.insights.engines import Queries
from pipeline.insights.heuristics import DIRECT
from pipeline.insights.markov import ORDERS
from pipeline.insights.message_credit import lifts_of_unit, load_touches, message_journeys
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

_SCOPES: Final = {"global": "global credit", "journey": "per-journey credit"}
_MAX_ROWS: Final = 100
_CREDIT_NOT_CAUSE: Final = "Credit, not cause: only a holdout measures what a channel adds."

_PathsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Table of aggregated paths: path (channels joined by ` > `), conversions, value, "
        "nulls."
    ),
]
_TouchesOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Table of touches: profile_id, occurred_at, channel, kind (touch or conversion), "
        "value; if known, event_id, touch (sent, seen, clicked), campaign, message, "
        "sequence."
    ),
]
_TopicsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Instead of a table: DIR/decisions and DIR/interactions.segmented, as `kairos "
        "replay` writes them; the messages are the touches.",
    ),
]
_ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder of configuration with the campaigns' goals, for --topics."
    ),
]
_GoalOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Name of the goal event, for --topics. Default: the goal of most campaigns."),
]
_ModelOption: TypeAlias = Annotated[str, typer.Option(help=f"Model: {', '.join(MODELS)}.")]
_OrderOption: TypeAlias = Annotated[
    str, typer.Option(help="Order of a Markov model: 1 to 4, or auto.")
]
_NullsOption: TypeAlias = Annotated[
    bool, typer.Option(help="Include paths without conversion in Markov models.")
]
_UnitOption: TypeAlias = Annotated[
    str, typer.Option(help=f"Unit of credit: {', '.join(get_args(Unit))}.")
]
_OnlyOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help=f"Only touches of one kind: {', '.join(TOUCH_KINDS)}. Default with --topics: seen."
    ),
]
_LookbackOption: TypeAlias = Annotated[
    str, typer.Option(help="Time before a conversion within which touches get credit.")
]
_SessionOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Time within which a repeated touch is not counted."),
]
_HalfLifeOption: TypeAlias = Annotated[
    str, typer.Option(help="Half-life of credit in the model time-decay.")
]
_SinceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Beginning of the period that the table covers; a conversion whose lookback "
        "begins earlier is left out."
    ),
]
_DirectOption: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="Channels that last-non-direct ignores.")
]
_WorthOption: TypeAlias = Annotated[
    str, typer.Option(help=f"Worth of a coalition in shapley-full: {', '.join(get_args(Worth))}.")
]
_ReplicatesOption: TypeAlias = Annotated[
    int, typer.Option(min=0, help="Number of bootstrap replicates; 0: no intervals.")
]
_SeedOption: TypeAlias = Annotated[
    int, typer.Option(min=0, help="Seed of the bootstrap and of --order auto.")
]


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Options of the data: one of `paths`, `touches` and `topics`."""

    paths: Path | None
    touches: Path | None
    topics: Path | None
    config: Path | None
    goal: str | None

    def file(self) -> Path:
        """Return the path that was given. Raises BadParameter."""
        files = [path for path in (self.paths, self.touches, self.topics) if path is not None]
        if len(files) != 1:
            raise typer.BadParameter("give one of --paths FILE, --touches FILE, --topics DIR")
        if self.topics is None and (self.config or self.goal):
            raise typer.BadParameter("--config and --goal go with --topics")
        return files[0]


@dataclass(frozen=True, slots=True)
class _ModelChoice:
    """Options of the model of credit, as given."""

    model: str
    order: str
    nulls: bool
    direct: list[str] | None
    worth: str

    def options(self) -> ModelOptions:
        """Return the options of the model. Raises BadParameter."""
        return ModelOptions(
            nulls=self.nulls,
            direct=frozenset(self.direct) if self.direct else DIRECT,
            worth=require_choice("--worth", self.worth, get_args(Worth)),
        )


@dataclass(frozen=True, slots=True)
class _TouchChoice:
    """Options of the touches that may get credit, as given."""

    unit: str
    only: str | None
    lookback: str
    session: str | None
    since: str | None
    until: str | None
    timezone: str | None

    def options(self) -> TouchOptions:
        """Return the options of reading touches. Raises BadParameter."""
        return TouchOptions(
            unit=require_choice("--unit", self.unit, get_args(Unit)),
            touch=None if self.only is None else require_choice("--only", self.only, TOUCH_KINDS),
            lookback_ms=duration(self.lookback),
            session_ms=duration(self.session) if self.session else 0,
            since_ms=optional_ms(self.since),
            until_ms=optional_ms(self.until),
            zone=self.timezone,
        )


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

    Credits add up to the totals. The 95 % intervals of conversions are by bootstrap over customers,
    or over paths if these are aggregated. With --topics the lift over holdouts is shown beside the
    credit.
    """
    inputs = _Inputs(paths, touches, topics, config, goal)
    choice = _ModelChoice(model, order, nulls, direct, worth)
    touch_choice = _TouchChoice(unit, only, lookback, session, since, until, timezone)
    draws = BootstrapDraws(replicates, seed)
    question = _question(inputs, choice, touch_choice, half_life, draws)
    with open_engine(engine, memory, spill) as queries:
        lifts, result = _credit(inputs, question, queries)
    if json:
        print_json(_answer_fields(result, question.touches, lifts))
    else:
        _print_attribution(result, question, lifts)


def _question(
    inputs: _Inputs,
    choice: _ModelChoice,
    touch_choice: _TouchChoice,
    half_life: str,
    draws: BootstrapDraws,
) -> AttributionQuestion:
    return AttributionQuestion(
        file=inputs.file(),
        has_paths=inputs.paths is not None,
        model=require_choice("--model", choice.model, tuple(MODELS)),
        order=_order(choice.order),
        options=choice.options(),
        touches=touch_choice.options(),
        half_life_ms=duration(half_life),
        draws=draws,
    )


def _credit(
    inputs: _Inputs, question: AttributionQuestion, queries: Queries
) -> tuple[tuple[Lift, ...] | None, AttributionAnswer]:
    """Return the lift measured with held-out customers, for topics only, and the credit."""
    if inputs.topics is None:
        return None, answer(question, queries)
    campaigns = campaigns_of(inputs.config, inputs.topics)
    return _credit_messages(question, queries, campaigns, inputs.goal)


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
            raise TableError(
                "--goal: name the goal event, since no campaign has a goal of one event"
            )
        period = Period(until_ms=touches.until_ms)
        lifts = load_statistics(queries, folder, period, campaigns).lifts
        load_touches(queries, goal_event, touches.touch or "seen")
        credit = credit_journeys(question, message_journeys(queries, folder, touches))
    return lifts_of_unit(lifts, touches.unit), credit


def _order(text: str) -> Order:
    if text == AUTO:
        return "auto"
    if text in map(str, ORDERS):
        return int(text)
    raise typer.BadParameter(f"--order {text}: is none of {', '.join(map(str, ORDERS))}, {AUTO}")


def _answer_fields(
    result: AttributionAnswer, touches: TouchOptions, lifts: tuple[Lift, ...] | None
) -> dict[str, Any]:
    """Return the answer for JSON: for aggregated paths the attribution alone, for touches also its
    support, for messages also the measured lift."""
    fields: dict[str, Any] = msgspec.to_builtins(result.attribution)
    if result.support is not None:
        fields["credit"] = result.scope
        fields["unit"] = touches.unit
        fields["support"] = result.support
    if lifts is not None:
        fields["note"] = _CREDIT_NOT_CAUSE
        fields["measured"] = lifts
    return fields


def _print_attribution(
    credit: AttributionAnswer, question: AttributionQuestion, lifts: tuple[Lift, ...] | None
) -> None:
    result = credit.attribution
    order = f", order {result.order}" if result.order else ""
    print_table(
        f"{result.model}{order}: {_SCOPES[credit.scope]}",
        [question.touches.unit, "conversions", "95 %", "value", "removal effect"],
        [
            (
                channel.channel,
                f"{channel.conversions:,.1f}",
                range_words(channel.low, channel.high),
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
    if lifts is not None:
        print_lifts("Measured with customers held out", lifts)


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
