"""Processes of a stack, by its configuration."""

from pipeline.stack.plan import Tier, make_plan


def test_files_are_watched_where_the_configuration_has_watches() -> None:
    plan_with_files = make_plan({"all": 1}, 8765, frozenset({"webhook"}), "ingest")
    plan_without_watches = make_plan({"all": 1}, 8765, frozenset({"webhook"}))
    [watcher] = [
        process
        for process in plan_with_files.processes
        if process not in plan_without_watches.processes
    ]
    assert watcher.name == "ingest"
    assert watcher.command[-1] == "ingest"
    assert watcher.tier < Tier.GATEWAY
