"""Table of prompts with their results, from which recommendations are made.

A row is a time at which a message might be sent to move a case to its next step. It has the channel
(blank or `nothing`: no message was sent), the message and, if it was drawn, its probability. The
result is whether and when the case reached the step within the window, and whether it opted out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.insights.choices import ChoiceRows, Option
from pipeline.insights.events import EventLog
from pipeline.insights.paths import Floats
from pipeline.insights.tables import Column, TableError, sql_text

NOTHING: Final = "nothing"
_DAY_US: Final = 86_400_000_000
_MAX_STRATA: Final = 50
_MAX_STEPS: Final = 1_000
"""Most steps examined; more suggest that `step` is not the column of steps."""


@dataclass(frozen=True, slots=True)
class ResultWeights:
    """Weights of the results of a prompt, in one currency: `value` of reaching a step, `costs` of a
    message by channel, cost of a `day` of delay and of an `opt_out`, which is one of the events
    `opt_outs`. `within_ms`: time for which a prompt is followed."""

    within_ms: int = 3 * 86_400_000
    value: float = 1.0
    costs: Mapping[str, float] = field(default_factory=dict)
    day: float = 0.0
    opt_out: float = 0.0
    opt_outs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """Options of the table. `adjust`: columns with properties of the customer at the decision;
    `zone`: the time zone of times without one."""

    weighing: ResultWeights = field(default_factory=ResultWeights)
    adjust: tuple[str, ...] = ()
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Prompts:
    """Followed prompts. `by_step`: the prompts of each step, whose customers are split by the time
    of their first prompt. `unfinished_prompts`: number of prompts whose window is not over;
    `foreign_prompts`: number of prompts whose step is not in the journey."""

    by_step: tuple[ChoiceRows, ...]
    customers: int
    unfinished_prompts: int
    foreign_prompts: int


def read_prompts(
    log: EventLog, file: Path, options: PromptOptions, steps: Mapping[str, str] | None
) -> Prompts:
    """Read the table, and follow each prompt in the events of `log`. Raises TableError.

    The view `reached` maps events to steps. `steps`: the journey's step by name in the table;
    prompts with other names are left out. None: the name of any event is a step.
    """
    columns = [
        Column("case_id", "text"),
        Column("occurred_at", "time"),
        Column("step", "text"),
        Column("channel", "text", blank=True),
        Column("message", "text", required=False, blank=True),
        Column("offer", "text", required=False, blank=True),
        Column("propensity", "share", required=False, blank=True, above_zero=True),
        *(Column(name, "text", blank=True) for name in options.adjust),
    ]
    log.queries.open_table(file, columns, options.zone)
    return follow_prompts(log, file, options, steps)


def follow_prompts(
    log: EventLog, file: Path, options: PromptOptions, steps: Mapping[str, str] | None
) -> Prompts:
    """Follow the prompts of the view `checked`, loaded from `file`, as `read_prompts` does."""
    _load(log, options)
    foreign_prompts = 0 if steps is None else _name_steps(log, file, steps)
    _follow(log, options.weighing)
    return _prompts(log, file, options, foreign_prompts)


def load_named_steps(log: EventLog) -> None:
    """Make the view `reached` in which each event's name is a step, where no journey is defined."""
    log.queries.define_view("reached", "SELECT case_id, moment, name AS step FROM events")


def load_defined_steps(log: EventLog, names: Sequence[str]) -> dict[str, str]:
    """Make the view `reached` of the events in `marks`; return the journey's step by each name that
    a table may use for it: its own name, and the names of the events that reach no other step."""
    rows_sql = ", ".join(f"({number}, {sql_text(name)})" for number, name in enumerate(names))
    log.queries.define_view(
        "reached",
        f"""
        SELECT e.case_id, e.moment, n.name AS step
        FROM events AS e JOIN marks AS m ON e.name = m.name AND e.channel = m.channel
        JOIN (SELECT * FROM (VALUES {rows_sql}) AS named(number, name)) AS n ON m.step = n.number
        """,
    )
    events = log.queries.rows(
        "SELECT name, min(step) FROM marks WHERE step IS NOT NULL GROUP BY name "
        "HAVING count(DISTINCT step) = 1"
    )
    return {**{name: names[number] for name, number in events}, **{name: name for name in names}}


def _load(log: EventLog, options: PromptOptions) -> None:
    adjusted_columns = ", ".join(f"coalesce({_quote(name)}, '')" for name in options.adjust)
    is_nothing = f"channel IS NULL OR channel = '{NOTHING}'"
    log.queries.define(
        "prompts",
        f"""
        SELECT row AS line, case_id, occurred_at AS moment, step,
            CASE WHEN {is_nothing} THEN '' ELSE channel END AS channel,
            CASE WHEN {is_nothing} THEN '' ELSE coalesce(message, channel) END AS message,
            CASE WHEN {is_nothing} THEN '' ELSE coalesce(offer, '') END AS offer,
            propensity, [{adjusted_columns}]::VARCHAR[] AS known
        FROM checked
        """,
    )


def _name_steps(log: EventLog, file: Path, steps: Mapping[str, str]) -> int:
    """Replace names by the journey's steps; return the number of prompts with other names."""
    rows_sql = ", ".join(f"({sql_text(name)}, {sql_text(step)})" for name, step in steps.items())
    log.queries.define(
        "named",
        f"""
        SELECT p.line, p.case_id, p.moment, n.step, p.channel, p.message, p.offer, p.propensity,
            p.known
        FROM prompts AS p
        LEFT JOIN (SELECT * FROM (VALUES {rows_sql}) AS known(name, step)) AS n ON p.step = n.name
        """,
    )
    [(prompts, named_prompts)] = log.queries.rows("SELECT count(*), count(step) FROM named")
    if prompts and not named_prompts:
        raise TableError(f"{file}: step: none is a step of the journey: {', '.join(steps)}")
    log.queries.define("prompts", "SELECT * FROM named WHERE step IS NOT NULL")
    return int(prompts - named_prompts)


def _follow(log: EventLog, weighing: ResultWeights) -> None:
    """Load `followed`: prompts with the time at which their step was reached, and whether the case
    opted out and the window is over."""
    window_us = weighing.within_ms * 1000
    names = ", ".join(map(sql_text, weighing.opt_outs)) or "NULL"
    log.queries.define(
        "followed",
        f"""
        WITH reached_steps AS (
            SELECT p.line, min(r.moment) AS reached_at
            FROM prompts AS p JOIN reached AS r ON p.case_id = r.case_id AND p.step = r.step
            WHERE r.moment > p.moment AND r.moment <= p.moment + {window_us} GROUP BY p.line
        ), opt_outs AS (
            SELECT DISTINCT p.line
            FROM prompts AS p JOIN events AS e ON p.case_id = e.case_id
            WHERE e.name IN ({names}) AND e.moment > p.moment AND e.moment <= p.moment + {window_us}
        )
        SELECT p.*, d.reached_at, g.line IS NOT NULL AS opted_out,
            p.moment + {window_us} <= {log.end} AS finished
        FROM prompts AS p LEFT JOIN reached_steps AS d ON p.line = d.line
        LEFT JOIN opt_outs AS g ON p.line = g.line
        """,
    )


def _prompts(
    log: EventLog, file: Path, options: PromptOptions, foreign_prompt_count: int
) -> Prompts:
    queries = log.queries
    queries.define(
        "people",
        """
        SELECT step, case_id, row_number() OVER (ORDER BY step, case_id) AS customer,
            min(moment) AS began
        FROM followed WHERE finished GROUP BY step, case_id
        """,
    )
    [(customers, unfinished_prompts)] = queries.rows(
        "SELECT count(DISTINCT case_id), count(*) FILTER (NOT finished) FROM followed"
    )
    steps = queries.rows(
        "SELECT f.step, quantile_disc(p.began, 0.5) FROM followed AS f "
        "LEFT JOIN people AS p ON f.step = p.step AND f.case_id = p.case_id "
        "GROUP BY f.step ORDER BY min(f.line)"
    )
    if len(steps) > _MAX_STEPS:
        raise TableError(
            f"{file}: step: {len(steps):,} different ones, at most {_MAX_STEPS:,} can be "
            "compared: is it the right column?"
        )
    by_step = tuple(_rows(log, file, options, step, split or 0) for step, split in steps)
    return Prompts(by_step, customers, unfinished_prompts, foreign_prompt_count)


def _rows(log: EventLog, file: Path, options: PromptOptions, step: str, split: int) -> ChoiceRows:
    rows = log.queries.rows(
        f"""
        SELECT p.customer, f.channel, f.message, f.offer, f.propensity, f.known,
            f.reached_at - f.moment AS after, f.opted_out, p.began >= {split} AS later
        FROM followed AS f JOIN people AS p ON f.step = p.step AND f.case_id = p.case_id
        WHERE f.step = {sql_text(step)} AND f.finished ORDER BY f.line
        """
    )
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * 9
    customer, channels, messages, offers, propensity, properties, delays, opted_out, later = columns
    prompt_options = [Option(*parts) for parts in zip(channels, messages, offers, strict=True)]
    distinct_options = tuple(
        sorted(
            set(prompt_options), key=lambda option: (option.channel, option.message, option.offer)
        )
    )
    strata = tuple(sorted({tuple(values) for values in properties})) or ((),)
    if len(strata) > _MAX_STRATA:
        raise TableError(
            f"{file}: {', '.join(options.adjust)}: {len(strata):,} different values together, at "
            f"most {_MAX_STRATA} can be adjusted for"
        )
    option_numbers = {option: index for index, option in enumerate(distinct_options)}
    stratum_numbers = {values: index for index, values in enumerate(strata)}
    return ChoiceRows(
        place=step,
        options=distinct_options,
        customer=np.array(customer, dtype=np.int64),
        option=np.array([option_numbers[option] for option in prompt_options], dtype=np.int64),
        propensity=np.array(propensity, dtype=np.float64),
        stratum=np.array([stratum_numbers[tuple(values)] for values in properties], dtype=np.int64),
        strata=strata,
        later=np.array(later, dtype=np.bool_),
        worth=_worth(options.weighing, prompt_options, delays, opted_out),
        split=split,
        end=log.end,
    )


def _worth(
    weighing: ResultWeights,
    options: Sequence[Option],
    delays: Sequence[int | None],
    opted_out: Sequence[bool],
) -> Floats:
    """Return the worth of each prompt: the value if the step was reached, less all costs."""
    window_us = weighing.within_ms * 1000
    is_reached = np.array([delay is not None for delay in delays], dtype=np.float64)
    days = (
        np.array([window_us if delay is None else delay for delay in delays], dtype=np.float64)
        / _DAY_US
    )
    costs = np.array(
        [weighing.costs.get(option.channel, 0.0) for option in options], dtype=np.float64
    )
    opt_outs = np.array(opted_out, dtype=np.float64)
    worth: Floats = (
        weighing.value * is_reached - costs - weighing.day * days - weighing.opt_out * opt_outs
    )
    return worth


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
