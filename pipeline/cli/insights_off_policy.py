"""`kairos insights off-policy`: reward of another policy on the decisions of a log."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from pipeline.cli.console import JsonOption, fail, out, print_json, print_table
from pipeline.cli.insights_options import MemoryOption, open_engine, range_words
from pipeline.insights.off_policy import Bounds, Estimate, OffPolicy, evaluate, read_log

_LogOption: TypeAlias = Annotated[
    Path,
    typer.Option(
        help="Decisions (CSV, Parquet, NDJSON): reward, propensity, target_propensity; for the "
        "doubly robust estimate also q_logged and q_target."
    ),
]
_AnytimeOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--anytime", help="Give intervals that are valid at every sample size, for bounded rewards."
    ),
]
_LeastOption: TypeAlias = Annotated[
    float, typer.Option("--least", help="Least possible reward, for --anytime.")
]
_MostOption: TypeAlias = Annotated[
    float, typer.Option("--most", help="Greatest possible reward, for --anytime.")
]


def off_policy(
    log: _LogOption,
    anytime: _AnytimeOption = False,
    min_reward: _LeastOption = 0.0,
    max_reward: _MostOption = 1.0,
    memory: MemoryOption = None,
    json: JsonOption = False,
) -> None:
    """Estimate the reward of another policy on the decisions of a log.

    The estimates, with 95 % intervals, are IPS, self-normalised IPS and, if the log has a model's
    rewards, the doubly robust estimate.
    """
    with open_engine("duckdb", memory) as queries:
        decisions = read_log(queries, log)
    try:
        evaluation = evaluate(decisions, Bounds(min_reward, max_reward) if anytime else None)
    except ValueError as error:
        fail(f"{log}: reward: {error}: give --least and --most")
    if json:
        print_json(evaluation)
    else:
        _print_evaluation(evaluation)


def _print_evaluation(evaluation: OffPolicy) -> None:
    estimates = {
        "IPS": evaluation.ips,
        "self-normalised IPS": evaluation.snips,
        "doubly robust": evaluation.dr,
    }
    print_table(
        "Mean reward of the target policy",
        ["estimate", "value", "95 %"],
        [
            (name, _number(estimate), range_words(estimate.low, estimate.high, 6))
            for name, estimate in estimates.items()
            if estimate is not None
        ],
    )
    out.print(f"{evaluation.n:,} decisions; effective sample size {evaluation.ess:,.1f}")


def _number(estimate: Estimate) -> str:
    return "not known" if estimate.value is None else f"{estimate.value:.6g}"
