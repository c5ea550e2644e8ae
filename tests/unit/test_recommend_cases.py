"""Arms, orders and optional steps of a defined journey: arms were drawn, the rest was observed."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.adapters.journey_file import load_journey
from pipeline.cli.main import build_app
from pipeline.config.journey import Journey

_JOURNEY = """
journey: onboarding
goal: {when: {name: Opened}, window: 10d}
enter: {when: {name: Started}}
steps:
  - split: {by: share, arms: {mail-first: 0.5, call-first: 0.5}}
  - any_order:
      - {step: income, mandatory: true, reached: {name: Income}}
      - {step: photo, mandatory: true, reached: {name: Photo}}
  - {step: tour, reached: {name: Tour}}
  - {step: sign, mandatory: true, reached: {name: Sign}}
"""
_DAY_MS = 86_400_000
_BEGIN = 1_704_067_200_000


def _events(effect: float, count: int = 1_000) -> list[tuple[Any, ...]]:
    """Draw cases of two arms; the eager send the photo first, take the tour, and open anyway."""
    chance = np.random.default_rng(11)
    rows: list[tuple[Any, ...]] = []
    for case in range(count):
        at = _BEGIN + case * 600_000
        arm = "mail-first" if chance.random() < 0.5 else "call-first"
        eager = chance.random() < 0.5
        names = ["Photo", "Income", "Tour"] if eager else ["Income", "Photo"]
        steps = ["Started", *names, "Sign"]
        if chance.random() < (0.5 if eager else 0.2) + effect * (arm == "mail-first"):
            steps.append("Opened")
        rows += [
            (case, at + place * 3_600_000, name, "web", arm) for place, name in enumerate(steps)
        ]
    return [*rows, (0, _BEGIN + 60 * _DAY_MS, "End", "web", "")]


@pytest.fixture
def found(tmp_path: Path) -> Callable[..., Any]:
    """Function that runs the command over cases with this effect of the arm."""

    def run(effect: float, *options: str) -> Any:
        (tmp_path / "j.yaml").write_text(_JOURNEY)
        for name, head, rows in (
            ("e", ("case_id", "occurred_at", "name", "channel", "arm"), _events(effect)),
            ("p", ("case_id", "occurred_at", "step", "channel"), []),
        ):
            with (tmp_path / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([head, *rows])
        files = [
            *("--events", str(tmp_path / "e.csv"), "--prompts", str(tmp_path / "p.csv")),
            *("--defined", str(tmp_path / "j.yaml"), *options),
        ]
        given = ["insights", "recommend", *files, "--json"]
        done = CliRunner().invoke(build_app("insights"), given)
        assert done.exit_code == 0, done.output
        return {one["kind"]: one for one in msgspec.json.decode(done.stdout)["changes"]}

    return run


def test_an_arm_that_converts_more_is_a_change(found: Callable[..., Any], tmp_path: Path) -> None:
    arm = found(0.3)["arm"]
    assert (arm["do"], arm["grade"]) == ("change", "Tested")
    assert "mail-first" in arm["what"]
    assert arm["gain"]["low"] < 0.15 < arm["gain"]["high"]
    shares = '{"mail-first":0.9,"call-first":0.1}'
    assert shares in arm["draft"]
    draft = _JOURNEY.replace("{mail-first: 0.5, call-first: 0.5}", shares)
    (tmp_path / "draft.yaml").write_text(draft)
    assert isinstance(load_journey(tmp_path / "draft.yaml"), Journey)
    assert "arm" not in found(0.0)


def test_orders_and_optional_steps_that_go_with_eagerness_are_only_tests(
    found: Callable[..., Any],
) -> None:
    changes = found(0.0)
    assert {kind: one["do"] for kind, one in changes.items()} == {"order": "test", "step": "test"}
    assert {one["grade"] for one in changes.values()} == {"Observed only"}
    assert "photo > income" in changes["order"]["what"]
    assert "tour" in changes["step"]["what"]
    assert all("split" in one["draft"] for one in changes.values())


def test_a_forbidden_order_is_no_option(found: Callable[..., Any]) -> None:
    assert "order" not in found(0.0, "--forbid", "photo > income")
