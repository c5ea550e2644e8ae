"""Rollout of an applied configuration, with its progress."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.progress import Progress, TaskID

from pipeline.adapters.config_log import ConfigurationLog
from pipeline.adapters.consumer_groups import are_stages_running
from pipeline.cli.console import err
from pipeline.home.load_rules import load_rules
from pipeline.home.records import Records
from pipeline.profile_reads.member_profiles import open_profiles
from pipeline.rollout.affected import AffectedProfiles
from pipeline.rollout.backfill import backfill
from pipeline.rollout.reevaluate import reevaluate
from pipeline.rollout.versions import Version
from pipeline.settings import Settings


@dataclass(frozen=True)
class RolloutResult:
    """Counts of a rollout.

    `filled`: parts of profiles that were back-filled; `evaluated`: profiles that are evaluated by
    the configuration, those that it does not affect included.
    """

    filled: int = 0
    evaluated: int = 0


def roll_out(settings: Settings, log: ConfigurationLog, *, all_profiles: bool) -> RolloutResult:
    """Back-fill the newest configuration's new aggregates, and evaluate the profiles by it.

    Profiles that it does not affect are skipped, unless `all_profiles`.
    """
    records = Records.of(settings)
    if not are_stages_running(settings.kafka()):
        err.print(
            "the stages do not run: no metric is back-filled, and profiles are evaluated as their "
            "interactions come; apply the configuration again once the stages run",
            soft_wrap=True,
        )
        return RolloutResult()
    versions = usable_versions(log)
    config = versions[-1].config
    with Progress(console=err) as bar:
        task = bar.add_task("filling new metrics", total=None)
        rules = load_rules(config, settings)
        filled_parts = backfill(records, versions, rules, _reporter(bar, task))
        bar.update(task, total=1, completed=1)
        with open_profiles(records) as people:
            profile_count = len(people)
            task = bar.add_task("evaluating profiles", total=profile_count)
            affected_profiles = AffectedProfiles(versions)
            targets = people if all_profiles else filter(affected_profiles.has, people)
            reevaluate(records, targets, config.digest, _reporter(bar, task))
            bar.update(task, completed=profile_count)
    return RolloutResult(filled_parts, profile_count)


def usable_versions(log: ConfigurationLog) -> list[Version]:
    """Return the versions that this version of Kairos can use, the oldest first."""
    revisions = [(log.get(record.digest), record.applied_at) for record in log.history()]
    return [Version(config, applied_at) for config, applied_at in revisions if config is not None]


def _reporter(bar: Progress, task: TaskID) -> Callable[[int], None]:
    return lambda count: bar.update(task, completed=count)
