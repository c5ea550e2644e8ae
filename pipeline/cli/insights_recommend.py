"""`kairos insights recommend`: changes that would pay, with their certainty."""

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
from pipeline.insights.defined import compare
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
from pipeline.insights.recommend import RecommendationQuestion, Recommendations, recommend
from pipeline.insights.recommendation_words import Language, number, words
from pipeline.insights.tables import MOST_AMOUNT
from pipeline.insights.topic_events import topic_events
from pipeline.rollout.drafts import DraftSources, UndraftedError, write_draft

_Pair = tuple[str, str]


_EventsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Events (CSV, Parquet, NDJSON): case_id, occurred_at, name, channel."),
]
_PromptsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Prompts: case_id, occurred_at, step, channel (blank or nothing: none was sent); "
        "where they are known message, offer, propensity."
    ),
]
_TopicsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="In place of both tables: DIR/decisions and DIR/interactions.segmented, as "
        "`kairos replay` writes them; with --defined, whose prompts name each step's offers.",
    ),
]
_DefinedOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--defined", help="YAML of the journey; without it a step is the name of an event."
    ),
]
_GoalOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Name of the goal event, without --defined; orders of steps are compared by it.",
    ),
]
_WindowOption: TypeAlias = Annotated[
    str, typer.Option(help="With --goal: time within which it is to be reached.")
]
_OrderOfOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="With --goal: event whose place in the order is asked for; default: the events "
        "that at least half of the cases had.",
    ),
]
_WithinOption: TypeAlias = Annotated[
    str, typer.Option("--within", help="Time for which a prompt is followed.")
]
_ValueOption: TypeAlias = Annotated[
    float, typer.Option(min=0, max=MOST_AMOUNT, help="Value of reaching a step.")
]
_CostOption: TypeAlias = Annotated[
    list[str] | None, typer.Option(metavar="CHANNEL=AMOUNT", help="Cost of a message.")
]
_DayCostOption: TypeAlias = Annotated[
    float, typer.Option(min=0, max=MOST_AMOUNT, help="Cost of a day of delay.")
]
_OptOutOption: TypeAlias = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Name of an opt-out event.")
]
_OptOutCostOption: TypeAlias = Annotated[
    float, typer.Option(min=0, max=MOST_AMOUNT, help="Cost of an opt-out.")
]
_AdjustOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of the prompts with a known fact, by which the best option may differ.",
    ),
]
_ForbidOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar='"A > B"', help="With --defined: A must not come before B."),
]
_DraftsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Make each change in copies of --config and --defined: DIR/1/config, "
        "DIR/1/journey.yaml for the first, and so on.",
    ),
]
_ConfigOption: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The configuration that --drafts change.")
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

    Proposals are found on the customers who began earlier and measured on the others. A change is
    recommended if its options were randomised (Tested); a difference that was only observed
    (Adjusted, Observed only) is recommended as a test. Without evidence nothing is recommended.
    """
    weighing = ResultWeights(
        within_ms=duration(follow_time),
        value=value,
        costs=dict(_cost(text) for text in cost or ()),
        day=day_cost,
        opt_out=opt_out_cost,
        opt_outs=tuple(opt_out or ()),
    )
    options = PromptOptions(weighing, tuple(adjust or ()), timezone)
    journey = None if plan_file is None else load_plan(plan_file)
    if drafts is not None and drafts.exists():
        raise typer.BadParameter(f"--drafts {drafts}: is there already")
    if (order_of and goal is None) or (goal is not None and (plan_file or topics)):
        raise typer.BadParameter("--goal and --order-of go with --events, without --defined")
    duration(window)
    forbidden_pairs, goal_journey = _forbidden_pairs(forbid or [], journey), None
    with open_engine(engine, memory) as queries:
        if topics is not None:
            if events or prompts or adjust or journey is None or plan_file is None:
                raise typer.BadParameter("--topics goes with --defined, without other tables")
            log = topic_events(queries, topics, None, None)
            steps, others = _steps(log, journey, plan_file, weighing, forbidden_pairs)
            load_decision_prompts(queries, topics, journey, plan_file)
            prompt_table = follow_prompts(log, topics, options, steps)
        elif events is None or prompts is None:
            raise typer.BadParameter("say --events FILE and --prompts FILE, or --topics DIR")
        else:
            log = read_events(queries, events, EventOptions(zone=timezone))
            steps, others = _steps(log, journey, plan_file, weighing, forbidden_pairs)
            if goal is not None:
                goal_journey = implied_journey(log, goal, window, order_of or ())
                others = _orders(log, goal_journey, events, weighing)
            prompt_table = read_prompts(log, prompts, options, steps)
    if prompt_table.elsewhere:
        err.print(f"{prompt_table.elsewhere:,} prompts are of no step of the journey, and left out")
    question = RecommendationQuestion(
        prompt_table, others, weighing, options.adjust, journey, goal_journey, lang.language
    )
    result = recommend(question)
    if drafts is not None:
        _write_drafts(DraftSources(config, plan_file), result, drafts)
    if json:
        print_json(result)
    else:
        _print(result, lang.language)


def _steps(
    log: EventLog,
    journey: Journey | None,
    file: Path | None,
    weighing: ResultWeights,
    forbidden_pairs: list[_Pair],
) -> tuple[dict[str, str] | None, list[ChoiceRows]]:
    """Load the events that reach a step; return the names of steps, and the journey's choices."""
    if journey is None or file is None:
        load_named_steps(log)
        return None, []
    cases = compare(log, journey, file)
    for missing in cases.unseen:
        err.print(plain(f"{file}: {missing}"), soft_wrap=True)
    names = tuple(step.name for step in cases.plan.steps)
    return load_defined_steps(log, names), case_choices(cases, weighing, forbidden_pairs)


def _orders(
    log: EventLog, goal_journey: Journey | None, file: Path, weighing: ResultWeights
) -> list[ChoiceRows]:
    """Return the orders of the steps of an implied journey; report if there is none."""
    if goal_journey is None:
        err.print("No orders are compared: the goal never came, or too few steps are usual.")
        return []
    return case_choices(compare(log, goal_journey, file), weighing, ())


def _write_drafts(sources: DraftSources, result: Recommendations, folder: Path) -> None:
    """Write the files of every change; report the errors of a change that cannot be applied."""
    for change in result.changes:
        out_of = folder / str(change.rank)
        try:
            errors = [str(error) for error in write_draft(sources, change.draft, out_of)]
        except UndraftedError as error:
            errors = [str(error)]
        for text in errors:
            err.print(plain(f"{out_of}: {text}"), soft_wrap=True)


def _cost(text: str) -> tuple[str, float]:
    channel, equals, amount = text.rpartition("=")
    try:
        cost = float(amount)
    except ValueError:
        cost = -1.0
    if not (channel and equals and 0.0 <= cost <= MOST_AMOUNT):
        raise typer.BadParameter(f"--cost {text}: say CHANNEL=AMOUNT, such as call=4")
    return channel, cost


def _forbidden_pairs(texts: list[str], journey: Journey | None) -> list[_Pair]:
    if texts and journey is None:
        raise typer.BadParameter("--forbid is about a journey: say --defined FILE")
    steps = {step.step for stage in journey.steps for step in stage.steps()} if journey else set()
    pairs = []
    for text in texts:
        first, _, other = text.partition(ARROW.strip())
        pair = first.strip(), other.strip()
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


def _print(result: Recommendations, language: Language) -> None:
    title, heads = _HEADS[language]
    titles = _COMPARISON[language]
    print_table(
        title,
        heads,
        [
            (
                step.step,
                "✓" if step.mandatory else "",
                step.words,
                _gain(step.gain, language),
            )
            for step in result.journey
        ],
    )
    if result.shape is not None:
        out.print(plain(result.shape.words), soft_wrap=True)
        out.print()
    print_table(
        titles[0],
        titles[1],
        [
            (
                option.place,
                option.option,
                option.support.had_it,
                _gain(option.gain, language),
                words(language, option.grade),
            )
            for option in result.compared
        ],
    )
    for change in result.changes:
        out.print(plain(f"{change.rank}. {change.what} [{change.grade_words}]"), soft_wrap=True)
        out.print(plain(f"   + {change.why}"), soft_wrap=True)
        for against in change.against:
            out.print(plain(f"   - {against}"), soft_wrap=True)
        for line in change.draft.splitlines():
            out.print(plain(f"     {line}"), soft_wrap=True)
        out.print()
    if result.words is not None:
        out.print(plain(result.words), soft_wrap=True)


def _gain(gain: Gain | None, language: Language) -> str:
    if gain is None:
        return ""
    value, low, high = (number(figure, language) for figure in (gain.value, gain.low, gain.high))
    return f"{value} ({low} .. {high})"
