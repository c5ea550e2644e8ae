"""`kairos insights recommend`: changes that would pay, with their certainty."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from pipeline.cli.console import JsonOption, err, out, print_json, print_table
from pipeline.cli.explain import ExplanationLanguage, LangOption
from pipeline.cli.insights_options import (
    EngineOption,
    MemoryOption,
    TimezoneOption,
    duration,
    load_plan,
    open_engine,
)
from pipeline.cli.plain import plain
from pipeline.config.model.journeys import Journey
from pipeline.insights.case_choices import ARROW, case_choices
from pipeline.insights.choices import ChoiceRows, Gain
from pipeline.insights.decision_prompts import load_decision_prompts
from pipeline.insights.defined import follow_cases
from pipeline.insights.engines import Queries
from pipeline.insights.events import EventLog, EventOptions, read_events
from pipeline.insights.implied_journey import implied_journey
from pipeline.insights.prompts import (
    PromptOptions,
    ResultWeights,
    follow_prompts,
    load_defined_steps,
    load_named_steps,
    read_prompts,
)
from pipeline.insights.recommend import (
    RecommendationQuestion,
    Recommendations,
    RecommendedChange,
    recommend,
)
from pipeline.insights.recommendation_words import Language, number, words
from pipeline.insights.tables import MAX_AMOUNT
from pipeline.insights.topic_events import load_topic_events
from pipeline.rollout.drafts import DraftSources, UndraftedError, write_draft

_Pair = tuple[str, str]

_GOAL_OPTIONS: Final = "--goal and --order-of go with --events, without --defined"
_TOPIC_OPTIONS: Final = "--topics goes with --defined, without other tables"


_EventsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Events (CSV, Parquet, NDJSON): case_id, occurred_at, name, channel."),
]
_PromptsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Table of prompts: case_id, occurred_at, step, channel (blank or `nothing`: none "
        "was sent); if known, message, offer, propensity."
    ),
]
_TopicsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Instead of both tables: DIR/decisions and DIR/interactions.segmented, as `kairos "
        "replay` writes them; requires --defined, whose prompts name each step's offers.",
    ),
]
_DefinedOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--defined", help="YAML file of the journey; without it, each event name is a step."
    ),
]
_GoalOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Name of the goal event by which orders of steps are compared, without --defined.",
    ),
]
_WindowOption: TypeAlias = Annotated[
    str, typer.Option(help="With --goal: time within which the goal must be reached.")
]
_OrderOfOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="With --goal: event whose place in the order is examined; may be repeated. "
        "Default: the events that at least half of the cases had.",
    ),
]
_WithinOption: TypeAlias = Annotated[
    str, typer.Option("--within", help="Time after a prompt in which its results count.")
]
_ValueOption: TypeAlias = Annotated[
    float, typer.Option(min=0, max=MAX_AMOUNT, help="Value of reaching a step.")
]
_CostOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="CHANNEL=AMOUNT", help="Cost of a message in a channel; may be repeated."),
]
_DayCostOption: TypeAlias = Annotated[
    float, typer.Option(min=0, max=MAX_AMOUNT, help="Cost of a day of delay.")
]
_OptOutOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Name of an opt-out event; may be repeated."),
]
_OptOutCostOption: TypeAlias = Annotated[
    float, typer.Option(min=0, max=MAX_AMOUNT, help="Cost of an opt-out.")
]
_AdjustOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of the prompts with a fact on which the best option may depend; may be "
        "repeated.",
    ),
]
_ForbidOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar='"A > B"', help="With --defined: A must not come before B; may be repeated."
    ),
]
_DraftsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Write a changed copy of --config and --defined for each change: DIR/1/config and "
        "DIR/1/journey.yaml for the first, and so on.",
    ),
]
_ConfigOption: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of configuration that --drafts copies.")
]


def recommendations(  # noqa: PLR0913 - a command's options
    events: _EventsOption = None,
    prompts: _PromptsOption = None,
    topics: _TopicsOption = None,
    plan_file: _DefinedOption = None,
    goal: _GoalOption = None,
    window: _WindowOption = "30d",
    order_of: _OrderOfOption = None,
    follow_time: _WithinOption = "3d",
    value: _ValueOption = 1.0,
    cost: _CostOption = None,
    day_cost: _DayCostOption = 0.0,
    opt_out: _OptOutOption = None,
    opt_out_cost: _OptOutCostOption = 0.0,
    adjust: _AdjustOption = None,
    forbid: _ForbidOption = None,
    drafts: _DraftsOption = None,
    config: _ConfigOption = None,
    timezone: TimezoneOption = None,
    engine: EngineOption = "duckdb",
    memory: MemoryOption = None,
    lang: LangOption = ExplanationLanguage.EN,
    json: JsonOption = False,
) -> None:
    """Recommend the best prompt for each step, and changes that would pay.

    Proposals are found from the customers who began earlier, and measured on the others. A change
    is recommended if its options were randomised (Tested); a difference that was only observed
    (Adjusted, Observed only) is recommended as a test. Without evidence nothing is recommended.
    """
    weighing = _result_weights(follow_time, value, cost, day_cost, opt_out, opt_out_cost)
    options = PromptOptions(weighing, tuple(adjust or ()), timezone)
    plan = _Plan.of(plan_file, forbid or [])
    if drafts is not None and drafts.exists():
        raise typer.BadParameter(f"--drafts {drafts}: exists already")
    tables = _Tables(events, prompts, topics, _GoalOrder.of(goal, window, order_of or []))
    with open_engine(engine, memory) as queries:
        question = _load_question(queries, tables, plan, options, lang.language)
    result = recommend(question)
    if drafts is not None:
        _write_drafts(DraftSources(config, plan_file), result, drafts)
    _show(result, lang.language, as_json=json)


def _result_weights(
    follow_time: str,
    value: float,
    costs: list[str] | None,
    day_cost: float,
    opt_outs: list[str] | None,
    opt_out_cost: float,
) -> ResultWeights:
    return ResultWeights(
        within_ms=duration(follow_time),
        value=value,
        costs=dict(_cost(text) for text in costs or ()),
        day=day_cost,
        opt_out=opt_out_cost,
        opt_outs=tuple(opt_outs or ()),
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """Defined journey with its file; None: there is none. `forbidden_pairs`: steps of which the
    first must not come before the second."""

    journey: Journey | None
    file: Path | None
    forbidden_pairs: list[_Pair]

    @classmethod
    def of(cls, file: Path | None, forbidden_pairs: list[str]) -> "_Plan":
        """Read the journey. Raises BadParameter."""
        journey = None if file is None else load_plan(file)
        return cls(journey, file, _forbidden_pairs(forbidden_pairs, journey))


@dataclass(frozen=True, slots=True)
class _GoalOrder:
    """Goal event by which the orders of `events` are compared, and the time within which it is to
    be reached."""

    goal: str
    window: str
    events: list[str]

    @classmethod
    def of(cls, goal: str | None, window: str, events: list[str]) -> "_GoalOrder | None":
        """Return the goal with its options; None without one. Raises BadParameter."""
        duration(window)
        if goal is not None:
            return cls(goal, window, events)
        if events:
            raise typer.BadParameter(_GOAL_OPTIONS)
        return None


@dataclass(frozen=True, slots=True)
class _Tables:
    """Options of the data: two tables, or `topics`."""

    events: Path | None
    prompts: Path | None
    topics: Path | None
    order: _GoalOrder | None


def _load_question(
    queries: Queries, tables: _Tables, plan: _Plan, options: PromptOptions, language: Language
) -> RecommendationQuestion:
    """Read the data. Raises BadParameter for options that do not go together."""
    if tables.order is not None and (plan.file or tables.topics):
        raise typer.BadParameter(_GOAL_OPTIONS)
    if tables.topics is None:
        question = _load_table_question(queries, tables, plan, options)
    else:
        if tables.events or tables.prompts or options.adjust:
            raise typer.BadParameter(_TOPIC_OPTIONS)
        question = _load_topic_question(queries, tables.topics, plan, options)
    if count := question.prompts.foreign_prompts:
        err.print(f"{count:,} prompts belong to no step of the journey, and are left out")
    return replace(question, language=language)


def _load_topic_question(
    queries: Queries, topics: Path, plan: _Plan, options: PromptOptions
) -> RecommendationQuestion:
    if plan.journey is None or plan.file is None:
        raise typer.BadParameter(_TOPIC_OPTIONS)
    log = load_topic_events(queries, topics, None, None)
    steps, journey_choices = _load_steps(log, plan, options.weighing)
    load_decision_prompts(queries, topics, plan.journey, plan.file)
    prompts = follow_prompts(log, topics, options, steps)
    return RecommendationQuestion(
        prompts, journey_choices, options.weighing, options.adjust, plan.journey
    )


def _load_table_question(
    queries: Queries, tables: _Tables, plan: _Plan, options: PromptOptions
) -> RecommendationQuestion:
    if tables.events is None or tables.prompts is None:
        raise typer.BadParameter("give --events FILE and --prompts FILE, or --topics DIR")
    weighing, goal_journey = options.weighing, None
    log = read_events(queries, tables.events, EventOptions(zone=options.zone))
    steps, journey_choices = _load_steps(log, plan, weighing)
    if tables.order is not None:
        order = tables.order
        goal_journey = implied_journey(log, order.goal, order.window, order.events)
        journey_choices = _orders(log, goal_journey, tables.events, weighing)
    prompts = read_prompts(log, tables.prompts, options, steps)
    return RecommendationQuestion(
        prompts, journey_choices, weighing, options.adjust, plan.journey, goal_journey
    )


def _load_steps(
    log: EventLog, plan: _Plan, weighing: ResultWeights
) -> tuple[dict[str, str] | None, list[ChoiceRows]]:
    """Load the events that reach a step; return the names of steps, and the journey's choices."""
    if plan.journey is None or plan.file is None:
        load_named_steps(log)
        return None, []
    cases = follow_cases(log, plan.journey, plan.file)
    for note in cases.unseen:
        err.print(plain(f"{plan.file}: {note}"), soft_wrap=True)
    names = tuple(step.name for step in cases.plan.steps)
    return load_defined_steps(log, names), case_choices(cases, weighing, plan.forbidden_pairs)


def _orders(
    log: EventLog, goal_journey: Journey | None, file: Path, weighing: ResultWeights
) -> list[ChoiceRows]:
    """Return the orders of the steps of an implied journey; report if there is none."""
    if goal_journey is None:
        err.print("No orders are compared: the goal never came, or too few steps are usual.")
        return []
    return case_choices(follow_cases(log, goal_journey, file), weighing, ())


def _write_drafts(sources: DraftSources, result: Recommendations, folder: Path) -> None:
    """Write the files of every change; report the errors of a change that cannot be applied."""
    for change in result.changes:
        drafts = folder / str(change.rank)
        try:
            errors = [str(error) for error in write_draft(sources, change.draft, drafts)]
        except UndraftedError as error:
            errors = [str(error)]
        for text in errors:
            err.print(plain(f"{drafts}: {text}"), soft_wrap=True)


def _cost(text: str) -> tuple[str, float]:
    channel, equals, amount = text.rpartition("=")
    try:
        cost = float(amount)
    except ValueError:
        cost = -1.0
    if not (channel and equals and 0.0 <= cost <= MAX_AMOUNT):
        raise typer.BadParameter(f"--cost {text}: give CHANNEL=AMOUNT, such as call=4")
    return channel, cost


def _forbidden_pairs(texts: list[str], journey: Journey | None) -> list[_Pair]:
    if texts and journey is None:
        raise typer.BadParameter("--forbid is about a journey: give --defined FILE")
    steps = {step.step for stage in journey.steps for step in stage.steps()} if journey else set()
    pairs = []
    for text in texts:
        first_step, _, second_step = text.partition(ARROW.strip())
        pair = first_step.strip(), second_step.strip()
        for name in pair:
            if name not in steps:
                raise typer.BadParameter(
                    f'--forbid "{text}": {name!r} is none of {", ".join(sorted(steps))}'
                )
        pairs.append(pair)
    return pairs


_HEADS: Final = {
    "en": ("The journey", ["step", "mandatory", "prompt", "worth more"]),
    "es": ("El recorrido", ["paso", "obligatorio", "mensaje", "vale más"]),
}

_COMPARISON: Final = {
    "en": (
        "What each option was worth more than what is done now (95 %, each by itself)",
        ["where", "option", "customers", "worth more", "evidence"],
    ),
    "es": (
        "Cuánto más valió cada opción que lo que se hace ahora (95 %, cada una por sí sola)",
        ["dónde", "opción", "clientes", "vale más", "evidencia"],
    ),
}


def _show(result: Recommendations, language: Language, *, as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    _print_journey(result, language)
    _print_comparison(result, language)
    for change in result.changes:
        _print_change(change)
    if result.words is not None:
        out.print(plain(result.words), soft_wrap=True)


def _print_journey(result: Recommendations, language: Language) -> None:
    title, heads = _HEADS[language]
    rows = [
        (step.step, "✓" if step.mandatory else "", step.words, _gain(step.gain, language))
        for step in result.journey
    ]
    print_table(title, heads, rows)
    if result.shape is not None:
        out.print(plain(result.shape.words), soft_wrap=True)
        out.print()


def _print_comparison(result: Recommendations, language: Language) -> None:
    title, heads = _COMPARISON[language]
    rows = [
        (
            option.place,
            option.option,
            option.support.had_it,
            _gain(option.gain, language),
            words(language, option.grade),
        )
        for option in result.compared
    ]
    print_table(title, heads, rows)


def _print_change(change: RecommendedChange) -> None:
    out.print(plain(f"{change.rank}. {change.what} [{change.grade_words}]"), soft_wrap=True)
    out.print(plain(f"   + {change.why}"), soft_wrap=True)
    for against in change.against:
        out.print(plain(f"   - {against}"), soft_wrap=True)
    for line in change.draft.splitlines():
        out.print(plain(f"     {line}"), soft_wrap=True)
    out.print()


def _gain(gain: Gain | None, language: Language) -> str:
    if gain is None:
        return ""
    value, low, high = (number(figure, language) for figure in (gain.value, gain.low, gain.high))
    return f"{value} ({low} .. {high})"
