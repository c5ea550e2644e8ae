"""Worth of a configuration by logged decisions, for the commands that play a log."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pipeline.cli.console import err, out, print_table
from pipeline.cli.insights_options import open_engine
from pipeline.cli.insights_topics import topic_folder
from pipeline.cli.plain import plain
from pipeline.config.model import Campaign
from pipeline.insights.campaign_facts import Period, load_facts, load_goals
from pipeline.insights.goals import CampaignGoal, campaign_goals
from pipeline.insights.off_policy import Estimate
from pipeline.insights.policy_slots import Replays
from pipeline.insights.policy_worth import MessageGain, PolicyWorth, estimate_worth
from pipeline.insights.topic_files import DECISIONS, SEGMENTED

_MIN_COVERAGE: Final = 0.9
_MAX_ROWS: Final = 30


def estimate_worth_from_log(
    topics: Path | None, replays: Replays, campaigns: Iterable[Campaign], period: Period
) -> PolicyWorth:
    """Estimate the worth of a replay's decisions by the topics in a folder, or by those of this
    home. Raises TableError."""
    with topic_folder(topics, (DECISIONS, SEGMENTED)) as folder, open_engine("duckdb") as queries:
        support = load_facts(queries, folder, Period(period.since_ms))
        goals = campaign_goals(campaigns)
        load_goals(queries, [goal for goal in goals if isinstance(goal, CampaignGoal)])
        return estimate_worth(queries, replays, period, support.until_ms or 0)


def print_worth(worth: PolicyWorth) -> None:
    """Print the estimate, and the counts behind it."""
    if worth.other is None:
        out.print(
            plain(
                f"The worth is not known: {worth.customers:,} customers can be compared, "
                f"{_left_out(worth)}"
            ),
            soft_wrap=True,
        )
        return
    print_table(
        "Worth per slot, estimated from what was really decided",
        ["", "worth", "95 %"],
        [
            ("as it was decided", *_cells(worth.ran)),
            *_replay_row(worth.replayed),
            ("by the other configuration (doubly robust)", *_cells(worth.other.dr)),
            ("  the same by IPS", *_cells(worth.other.ips)),
            ("  the same by self-normalised IPS", *_cells(worth.other.snips)),
            ("gain", *_cells(worth.gain)),
            (f"gain in all {worth.slots:,} slots", *_cells(worth.total)),
        ],
    )
    _print_gains(worth)
    out.print(
        f"From {worth.slots:,} slots of {worth.customers:,} customers, effective sample "
        f"size {worth.other.ess:,.0f}; {_left_out(worth)}",
        soft_wrap=True,
    )
    if worth.covered is not None and worth.covered < _MIN_COVERAGE:
        err.print(
            f"Only {worth.covered:.0%} of the other configuration's choices were ever made by "
            "chance: the gain of the remaining ones is a guess."
        )


def _print_gains(worth: PolicyWorth) -> None:
    if worth.segments:
        print_table(
            "Gain per slot by segment",
            ["segment", "slots", "gain", "95 %"],
            [
                (segment.segment, segment.slots, *_cells(segment.gain))
                for segment in worth.segments[:_MAX_ROWS]
            ],
        )
    for dimension, gains in (("offer", worth.offers), ("channel", worth.channels)):
        if any(gain.gain.value for gain in gains):
            print_table(
                f"Gain in all slots by {dimension}: what its own messages earn more or less",
                [dimension, "messages now", "then", "gain", "95 %"],
                [_message_row(gain) for gain in gains[:_MAX_ROWS]],
            )


def _replay_row(estimate: Estimate | None) -> list[tuple[str, str, str]]:
    return [] if estimate is None else [("by the same configuration, replayed", *_cells(estimate))]


def _message_row(gain: MessageGain) -> tuple[str, str, str, str, str]:
    return gain.name, f"{gain.before:,.1f}", f"{gain.after:,.1f}", *_cells(gain.gain)


def _cells(estimate: Estimate | None) -> tuple[str, str]:
    if estimate is None or estimate.value is None:
        return "not known", ""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:,.4g}", ""
    return f"{estimate.value:,.4g}", f"{estimate.low:,.4g} to {estimate.high:,.4g}"


def _left_out(worth: PolicyWorth) -> str:
    return (
        f"left out: {worth.undrawn:,} slots that the other configuration changes without a "
        "randomised choice, "
        f"{worth.unfinished:,} whose goals may still be reached, {worth.unplayed:,} of decisions "
        "that are missing in the log of interactions."
    )
