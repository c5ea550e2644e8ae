"""A journey, and tables of events."""

from collections.abc import Iterable
from pathlib import Path

from tests.support.attribution import write_csv

START = 1_704_067_200_000  # 2024-01-01
DAY = 86_400_000

ONBOARDING = """\
journey: onboarding
goal: {when: {name: Account Opened}, window: 30d}
enter: {when: {name: Onboarding Started}, again: never}
exit: [{name: Onboarding Cancelled}]
holdout: 0.05
steps:
  - step: terms
    mandatory: true
    reached: {name: Terms Accepted}
    within: 7d
    prompts:
      - {offers: [terms-reminder], after: 1h, every: 2d, most: 3}
  - any_order:
      - step: income
        mandatory: true
        reached: {name: Income Given}
        prompts: [{offers: [income-help], after: 1d}]
      - {step: photo, reached: {name: Photo Uploaded}}
  - split:
      by: share
      arms: {mail-first: 0.5, call-first: 0.5}
      hypothesis: A call pays for itself.
"""

NAMES = {
    "start": "Onboarding Started",
    "terms": "Terms Accepted",
    "income": "Income Given",
    "photo": "Photo Uploaded",
    "open": "Account Opened",
    "cancel": "Onboarding Cancelled",
}


def write_journey(folder: Path, text: str = ONBOARDING) -> Path:
    file = folder / "journey.yaml"
    file.write_text(text)
    return file


def case(name: str, day: float, *events: str, channel: str = "web") -> list[str]:
    """Return the lines of a case with one event a day from `day` on; `events`: keys of `NAMES`, or
    names."""
    return [
        f"{name},{START + round((day + index) * DAY)},{NAMES.get(event, event)},{channel}"
        for index, event in enumerate(events)
    ]


def write_events(folder: Path, *cases: Iterable[str]) -> Path:
    lines = [line for case in cases for line in case]
    return write_csv(folder / "events.csv", ["case_id,occurred_at,name,channel", *lines])
