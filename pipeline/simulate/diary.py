"""Diary of one customer: events are noted in any order and read in the order of time."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pipeline.model.interaction import Identifier, Kind, Scalar
from pipeline.model.time import DAY_MS
from pipeline.simulate.customers import SimulatedCustomer
from pipeline.simulate.events import WorldEvent

START_MS: Final = round(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1000)
"""The world's first moment: the same in every world, and long past, so that files can be sent."""

MAX_DAYS: Final = 730
"""Most days of a world, so that all of its times are in the past."""


def end_of(days: int) -> int:
    """Return the end of a world of `days` days, exclusive (epoch ms)."""
    return START_MS + days * DAY_MS


@dataclass(frozen=True, slots=True)
class DiaryEvent:
    """Event as its channel reports it; `identifiers` the strongest first."""

    channel: str
    name: str
    identifiers: tuple[Identifier, ...]
    kind: Kind = "track"
    placement: str | None = None


class Diary:
    """Events of one customer from the world's first moment to its last, exclusive."""

    def __init__(self, seed: int, customer: SimulatedCustomer, days: int) -> None:
        self.customer = customer
        self.days = days
        self.end_ms = end_of(days)
        self._seed = seed
        self._events: list[WorldEvent] = []

    @property
    def silence_start_ms(self) -> int:
        """Time at which the customer becomes inactive; the world's end if never."""
        share = self.customer.silence_start
        return self.end_ms if share is None else START_MS + round(share * self.days * DAY_MS)

    def time_of(self, day: float) -> int:
        """Return the time `day` days after the start."""
        return START_MS + round(day * DAY_MS)

    def note(self, at: int, entry: DiaryEvent, **properties: Scalar) -> None:
        """Write an event down; events after the world's end are discarded."""
        if at >= self.end_ms:
            return
        event = WorldEvent(
            at=at,
            person=self.customer.index,
            event_id=f"bank-{self._seed}-{self.customer.index}-{len(self._events)}",
            kind=entry.kind,
            name=entry.name,
            channel=entry.channel,
            identifiers=entry.identifiers,
            properties=properties,
            placement=entry.placement,
        )
        self._events.append(event)

    def events(self) -> list[WorldEvent]:
        """Return all events so far in the order of time."""
        return sorted(self._events, key=lambda event: event.at)
