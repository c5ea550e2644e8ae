"""Cases of journeys in a test, whose arms were drawn, and the recommendations for them."""

import csv
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from typer.testing import CliRunner, Result

from pipeline.cli.main import build_app
from pipeline.model.time import DAY_MS

JOURNEY = """
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
START_MS = 1_704_067_200_000


TEST_OF_ORDER = JOURNEY.replace(
    "{mail-first: 0.5, call-first: 0.5}", "{income-then-photo: 0.5, photo-then-income: 0.5}"
)
TEST_OF_TOUR = JOURNEY.replace(
    "{mail-first: 0.5, call-first: 0.5}", "{with-tour: 0.5, without-tour: 0.5}"
)


def cases_of_test(
    arms: tuple[str, str], effect: float, seed: int, count: int = 400
) -> list[tuple[Any, ...]]:
    """Return the events (case, time, name, channel, arm) of a test whose first arm has the effect.
    Most customers follow their arm; eager customers always follow the first arm, and reach the goal
    more often. A last event comes 60 days after the start."""
    chance = np.random.default_rng(seed)
    rows: list[tuple[Any, ...]] = []
    for case in range(count):
        at = START_MS + case * 600_000
        is_eager = chance.random() < 0.4
        is_first = chance.random() < 0.5
        order = ["Income", "Photo"] if is_first or is_eager else ["Photo", "Income"]
        tour = ["Tour"] if is_first or is_eager else []
        steps = ["Started", *order, *tour, "Sign"]
        if chance.random() < (0.6 if is_eager else 0.2) + effect * is_first:
            steps.append("Opened")
        rows += [
            (case, at + index * 3_600_000, name, "web", arms[0] if is_first else arms[1])
            for index, name in enumerate(steps)
        ]
    return [*rows, (0, START_MS + 60 * DAY_MS, "End", "web", "")]


def recommend_for_cases(
    folder: Path, journey: str | None, events: list[tuple[Any, ...]], *options: str
) -> dict[str, Any]:
    """Run `kairos insights recommend` on the cases, with a defined journey or without; return its
    answer."""
    result = run_recommend(folder, journey, events, *options)
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = msgspec.json.decode(result.stdout)
    return answer


def run_recommend(
    folder: Path, journey: str | None, events: list[tuple[Any, ...]], *options: str
) -> Result:
    """Run `kairos insights recommend` on the cases."""
    for name, head, rows in (
        ("e", ("case_id", "occurred_at", "name", "channel", "arm"), events),
        ("p", ("case_id", "occurred_at", "step", "channel"), []),
    ):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([head, *rows])
    files = ["--events", str(folder / "e.csv"), "--prompts", str(folder / "p.csv"), *options]
    if journey is not None:
        (folder / "j.yaml").write_text(journey)
        files += ["--defined", str(folder / "j.yaml")]
    return CliRunner().invoke(build_app("insights"), ["insights", "recommend", *files, "--json"])
