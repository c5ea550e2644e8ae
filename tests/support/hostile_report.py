"""Topics whose names try to become markup, formulas and scripts."""

from pathlib import Path
from typing import Final

from pipeline.insights.topic_files import DECISIONS, SEGMENTED
from pipeline.model.decision import Assignment, Candidate
from tests.support.replayed import as_segmented, decision, event, write_topic

HOSTILE: Final = (
    "<img src=x onerror=\"window.pwned='img'\">",
    "</script><script>window.pwned='script'</script>",
    '=HYPERLINK("http://evil.example")',
    "<a href=\"javascript:window.pwned='link'\">click</a>",
    "<!--<script>\u2028${window.pwned='template'}",
)
_START: Final = 1_704_067_200_000
_DAY: Final = 86_400_000
_DAYS: Final = 100


def write_hostile_topics(folder: Path) -> None:
    """Write decisions and events of a hundred days with hostile names throughout."""
    decisions, segmented = [], []
    for number in range(800):
        customer_id, name = f"p{number % 600}", HOSTILE[number % len(HOSTILE)]
        at = _START + number % _DAYS * _DAY + number * 60_000
        is_held = number % 3 == 0
        fate = f"held out by {HOSTILE[0]}" if is_held else "chosen"
        candidate = Candidate(name, name, name, f"{name}{name}", name, 5.0, 0.1, 1.0, fate)
        assignments = (Assignment(HOSTILE[0], is_held, at),)
        decisions.append(decision(f"e{number}", customer_id, at, candidate, holdouts=assignments))
        segmented += [
            as_segmented(customer_id, event(f"e{number}", name, at), (HOSTILE[number % 2],)),
        ]
        if number % 2:
            goal = event(f"g{number}", HOSTILE[0], at + 60_000, value=3.0)
            segmented.append(as_segmented(customer_id, goal))
        if not is_held:
            for outcome in ("impression", "click", "conversion")[: number % 4]:
                message_properties = {"action_id": f"a-e{number}", "value": 2.0}
                segmented.append(
                    as_segmented(
                        customer_id,
                        event(f"{outcome}{number}", outcome, at + 9, **message_properties),
                    )
                )
    segmented.append(as_segmented("last", event("last", "home", _START + _DAYS * _DAY)))
    write_topic(folder, DECISIONS, decisions)
    write_topic(folder, SEGMENTED, segmented)
