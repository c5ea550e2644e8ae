"""Narration of the play: first messages at once, figures every few seconds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median

from pipeline.demo.reactions import DeliveredMessage

_EVERY_S = 5.0
_CHANNEL = {True: "e-mail", False: "web"}


@dataclass(frozen=True, slots=True)
class PlayedRound:
    """Round that was played: its events, and the messages that reached customers in it.

    `answer_ms`: from the request to the answer, for each placement of this round.
    """

    day: date
    events: int
    delivered: Sequence[DeliveredMessage]
    answer_ms: Sequence[float]


class Narrator:
    """Sums of the rounds so far; `total`: events of the whole log to be played."""

    def __init__(self, total: int) -> None:
        self.sent = 0
        self.total = total
        self._messages = {True: 0, False: 0}
        self._answer_ms: list[float] = []
        self._told_s = 0.0

    def lines(self, update: PlayedRound, since_s: float) -> Iterator[str]:
        """Yield lines to show `since_s` seconds after the play began; usually none."""
        self.sent += update.events
        self._answer_ms.extend(update.answer_ms)
        for message in update.delivered:
            self._messages[message.outbound] += 1
            if self._messages[message.outbound] == 1:
                channel = _CHANNEL[message.outbound]
                yield f"first {channel} message after {since_s:.1f} s: {message.offer}"
        if since_s - self._told_s >= _EVERY_S:
            self._told_s = since_s
            yield self._figures(update.day)

    def _figures(self, day: date) -> str:
        times = self._answer_ms
        within = f" in {median(times):.1f} ms (median)" if times else ""
        shown, mailed = self._messages[False], self._messages[True]
        return f"{day}: {self.sent:,} events, {shown:,} web messages{within}, {mailed:,} e-mails"
