"""Processes of a stack, by its configuration."""

from pipeline.stack.plan import Tier, make_plan


def test_files_are_watched_where_the_configuration_has_watches() -> None:
    with_files = make_plan({"all": 1}, 8765, frozenset({"webhook"}), "ingest")
    without_watches = make_plan({"all": 1}, 8765, frozenset({"webhook"}))
    [watcher] = [
        process for process in with_files.processes if process not in without_watches.processes
    ]
    assert watcher.name == "ingest"
    assert watcher.command[-1] == "ingest"
    assert watcher.tier < Tier.GATEWAY
