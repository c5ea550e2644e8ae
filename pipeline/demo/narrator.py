"""Narration of the play: the first message of each channel at once, figures every few seconds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median

from pipeline.demo.reactions import DeliveredMessage

_INTERVAL_S = 5.0
_CHANNEL = {True: "e-mail", False: "web"}


@dataclass(frozen=True, slots=True)
class PlayedRound:
    """Round that was played: number of its events, and messages that reached customers.

    `answer_ms`: time from request to answer, for each placement of this round.
    """

    day: date
    event_count: int
    messages: Sequence[DeliveredMessage]
    answer_ms: Sequence[float]


class Narrator:
    """Narrator of rounds, with sums over them; `total_count`: number of events to play."""

    def __init__(self, total_count: int) -> None:
        self.event_count = 0
        self.total_count = total_count
        self._messages = {True: 0, False: 0}
        self._answer_ms: list[float] = []
        self._last_figures_s = 0.0

    def narrate(self, played_round: PlayedRound, elapsed_s: float) -> Iterator[str]:
        """Add a round to the sums, and yield lines to show `elapsed_s` seconds after the play
        began; usually none."""
        self.event_count += played_round.event_count
        self._answer_ms.extend(played_round.answer_ms)
        for message in played_round.messages:
            self._messages[message.is_outbound] += 1
            if self._messages[message.is_outbound] == 1:
                channel = _CHANNEL[message.is_outbound]
                yield f"first {channel} message after {elapsed_s:.1f} s: {message.offer}"
        if elapsed_s - self._last_figures_s >= _INTERVAL_S:
            self._last_figures_s = elapsed_s
            yield self._format_figures(played_round.day)

    def _format_figures(self, day: date) -> str:
        times = self._answer_ms
        duration = f" in {median(times):.1f} ms (median)" if times else ""
        web = f"{self._messages[False]:,} web messages{duration}"
        return f"{day}: {self.event_count:,} events, {web}, {self._messages[True]:,} e-mails"
