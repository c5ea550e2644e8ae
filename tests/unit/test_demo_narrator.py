"""Progress of the demonstration's play: first messages at once, figures every few seconds."""

from datetime import date

from pipeline.demo.narrator import Narrator, PlayedRound
from pipeline.demo.reactions import DeliveredMessage

_DAY = date(2024, 1, 1)


def _message(offer: str, is_outbound: bool) -> DeliveredMessage:
    return DeliveredMessage("a", "t", offer, is_outbound, 0)


def test_first_message_of_each_channel_is_shown_at_once() -> None:
    narrator = Narrator(100)
    update = PlayedRound(_DAY, 3, [_message("bestsellers", False), _message("thanks", True)], [4.0])
    assert list(narrator.narrate(update, 1.25)) == [
        "first web message after 1.2 s: bestsellers",
        "first e-mail message after 1.2 s: thanks",
    ]
    assert list(narrator.narrate(update, 1.5)) == []


def test_figures_of_all_rounds_come_every_five_seconds() -> None:
    narrator = Narrator(100)
    lines = [
        line
        for second in range(11)
        for line in narrator.narrate(
            PlayedRound(_DAY, 10, [_message("x", False)] if second else [], [float(second)]), second
        )
    ]
    assert lines == [
        "first web message after 1.0 s: x",
        "2024-01-01: 60 events, 5 web messages in 2.5 ms (median), 0 e-mails",
        "2024-01-01: 110 events, 10 web messages in 5.0 ms (median), 0 e-mails",
    ]


def test_round_without_requests_states_no_latency() -> None:
    [line] = Narrator(9).narrate(PlayedRound(_DAY, 9, [], []), 6.0)
    assert line == "2024-01-01: 9 events, 0 web messages, 0 e-mails"
