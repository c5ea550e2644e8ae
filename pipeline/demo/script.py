"""Script of the log: the messages of each visitor, and the points at which to wait.

A visitor has one cookie per platform. Until a user's first purchase, messages have the cookie only;
from then on they have the user id too. The first message with both links them, and the profile
moves. Decisions are reproducible only if all earlier messages of the visitor were decided before
the link, and if the move ends before later ones. So a day is played in rounds, with the pipeline
idle in between, and a linking message has a round of its own.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby, zip_longest
from typing import Any, TypeAlias
from uuid import UUID, uuid5

from pipeline.demo.dataset import LogEvent

_DEMO = UUID("b3f1f0a4-1e0e-5d0c-8a55-0a3d1c8f7e21")
_PLACEMENTS = {"home": "home-hero", "cart": "cart-banner"}
_PAGES = frozenset({"home", "catalog", "cart", "promo_page", "account_page", "review_page"})

Message: TypeAlias = dict[str, Any]
"""Message in Segment's format."""


@dataclass(frozen=True, slots=True)
class Step:
    """Messages to send in one request; with `placement`, one message that requests a decision.

    `at`: time of the last message (epoch ms).
    """

    messages: tuple[Message, ...]
    at: int
    placement: str | None = None


Visit: TypeAlias = tuple[Step, ...]
"""Steps of one visitor in one round, in order."""


@dataclass(frozen=True, slots=True)
class Round:
    """Visits of different visitors, whose order does not matter."""

    visits: tuple[Visit, ...]

    @property
    def event_count(self) -> int:
        return sum(len(step.messages) for visit in self.visits for step in visit)


@dataclass(frozen=True, slots=True)
class Day:
    """Day of the log (UTC)."""

    date: date
    rounds: tuple[Round, ...]


@dataclass(frozen=True, slots=True)
class _ScriptLine:
    event: LogEvent
    is_known: bool
    is_link: bool


def event_id(row: int) -> str:
    """Return the event id of a row: the same in every run."""
    return str(uuid5(_DEMO, f"row/{row}"))


def days(log: Iterable[LogEvent]) -> list[Day]:
    """Return the script of a log that is in order of time."""
    return [
        Day(day, tuple(_rounds(list(lines))))
        for day, lines in groupby(_lines(log), key=lambda line: _date(line.event))
    ]


def event_ids(days: Iterable[Day]) -> frozenset[str]:
    """Return the ids of all messages."""
    return frozenset(message["messageId"] for message in _messages(days))


def event_count(days: Iterable[Day]) -> int:
    """Return the number of messages."""
    return sum(day_round.event_count for day in days for day_round in day.rounds)


def _messages(days: Iterable[Day]) -> Iterator[Message]:
    for day in days:
        for day_round in day.rounds:
            for visit in day_round.visits:
                for step in visit:
                    yield from step.messages


def _lines(log: Iterable[LogEvent]) -> Iterator[_ScriptLine]:
    buyers: set[str] = set()
    linked_devices: set[tuple[str, str]] = set()
    for event in log:
        if event.name == "purchase":
            buyers.add(event.user)
        is_known = event.user in buyers
        device = (event.user, event.platform)
        is_link = is_known and device not in linked_devices
        if is_link:
            linked_devices.add(device)
        yield _ScriptLine(event, is_known, is_link)


def _rounds(lines: list[_ScriptLine]) -> Iterator[Round]:
    lines_by_user: defaultdict[str, list[_ScriptLine]] = defaultdict(list)
    for line in lines:
        lines_by_user[line.event.user].append(line)
    parts = [_split_at_links(user_lines) for user_lines in lines_by_user.values()]
    for visits in zip_longest(*parts, fillvalue=()):
        yield Round(tuple(_visit(part) for part in visits if part))


def _split_at_links(lines: Iterable[_ScriptLine]) -> list[tuple[_ScriptLine, ...]]:
    """Split the lines so that each link is a part of its own, at an odd index: then the links of
    all users share rounds, and a day has few rounds."""
    parts: list[list[_ScriptLine]] = [[]]
    for line in lines:
        if line.is_link:
            parts += [[line], []]
        else:
            parts[-1].append(line)
    while parts and not parts[-1]:
        parts.pop()
    return [tuple(part) for part in parts]


def _visit(lines: Iterable[_ScriptLine]) -> Visit:
    steps: list[Step] = []
    for placement, placement_lines in groupby(
        lines, key=lambda line: _PLACEMENTS.get(line.event.name)
    ):
        if placement is None:
            batch = tuple(placement_lines)
            steps.append(Step(tuple(map(_message, batch)), batch[-1].event.at))
        else:
            steps.extend(
                Step((_message(line),), line.event.at, placement) for line in placement_lines
            )
    return tuple(steps)


def _message(line: _ScriptLine) -> Message:
    event = line.event
    is_page = event.name in _PAGES
    return {
        "type": "page" if is_page else "track",
        ("name" if is_page else "event"): event.name,
        "messageId": event_id(event.row),
        "timestamp": datetime.fromtimestamp(event.at / 1000, UTC).isoformat(),
        "anonymousId": str(uuid5(_DEMO, f"cookie/{event.user}/{event.platform}")),
        **({"userId": event.user} if line.is_known else {}),
        "properties": {
            "platform": event.platform,
            "acquisition_channel": event.acquisition_channel,
            "cohort": event.cohort,
            "lifecycle": event.lifecycle,
            "session": event.session,
        },
        "context": {"traits": _traits(event)},
    }


def _traits(event: LogEvent) -> Mapping[str, str]:
    """Return the traits of an event: a purchase gives an e-mail address."""
    return {"email": f"{event.user}@example.com"} if event.name == "purchase" else {}


def _date(event: LogEvent) -> date:
    return datetime.fromtimestamp(event.at / 1000, UTC).date()
