"""The synthetic bank's prompts and their results, as tables for recommendations."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from pipeline.simulate import tables
from pipeline.simulate.customers import customer
from pipeline.simulate.truth import statement
from pipeline.simulate.world import CustomerLife, WorldSize, customer_life

ONBOARDING: Final = """
journey: onboarding
goal: {when: {name: Account Opened}, window: 20d}
enter: {when: {name: Onboarding Started}}
steps:
  - {step: terms, mandatory: true, reached: {name: Terms Accepted}}
  - any_order:
      - {step: income, mandatory: true, reached: {name: Income Given}}
      - {step: photo, mandatory: true, reached: {name: Photo Uploaded}}
  - {step: opened, mandatory: true, reached: {name: Account Opened}}
"""
_EVENTS: Final = {
    "terms": "Terms Accepted",
    "income": "Income Given",
    "photo": "Photo Uploaded",
    "opened": "Account Opened",
}


def best_channels() -> dict[str, str]:
    """Return the channel with the greatest effect, by step."""
    truth = statement()["best_channel_per_step"]
    return {step: truth[name] for step, name in _EVENTS.items()}


def biographies(indices: range, is_known: bool) -> list[CustomerLife]:
    """Return the customers known from the start, or those who may open an account."""
    size = WorldSize(indices.stop, 30, 7)
    return [
        customer_life(size, index, True)
        for index in indices
        if customer(7, index).is_known == is_known
    ]


def write_onboarding(folder: Path, count: int) -> None:
    """Write j.yaml, and p.csv and e.csv of those of `count` customers who open an account."""
    people = biographies(range(count), is_known=False)
    prompts = [row for life in people for row in tables.prompts(life)]
    write_tables(folder, prompts, [row for life in people for row in tables.journeys(life)])
    (folder / "j.yaml").write_text(ONBOARDING)


def write_tables(
    folder: Path, prompts: Iterable[tuple[Any, ...]], events: Iterable[tuple[Any, ...]]
) -> None:
    """Write p.csv and e.csv."""
    for name, head, rows in (("p", tables.PROMPTS, prompts), ("e", tables.GOALS, events)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([head, *rows])
