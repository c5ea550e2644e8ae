"""All timers fire once, whatever worker is killed, moved or loses records meanwhile."""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agents.timers import LOST_MS, WINDOW
from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier
from tests.support.ringing import START_MS, WAIT_MS, Ringing

_PEOPLE = 2 * WINDOW
_CONGESTED = 50
_FEW = 2

_SOMETHING = st.one_of(
    st.tuples(st.just("come"), st.integers(0, _PEOPLE - 1)),
    st.tuples(st.just("pass"), st.sampled_from([1, WAIT_MS - 1, WAIT_MS])),
    st.tuples(st.just("look"), st.sampled_from([0, 0, 0, _CONGESTED - 1, _CONGESTED])),
    st.tuples(st.just("process"), st.integers(1, 2 * _PEOPLE)),
    st.tuples(st.just("lose"), st.integers(1, WINDOW)),
    st.tuples(st.just("start"), st.just(0)),
    st.tuples(st.just("own anew"), st.just(0)),
)


@dataclass
class _Story:
    """History of one partition; `since`: the timers that had fired when the owner began."""

    ringing: Ringing = field(default_factory=Ringing)
    now_ms: int = START_MS
    came: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    since: int = 0
    lost: bool = False

    def __post_init__(self) -> None:
        """Let everybody come and fall due."""
        for who in range(_PEOPLE):
            self._come(who)
        self.ringing.process(_PEOPLE)
        self.now_ms += WAIT_MS

    def happen(self, what: str, much: int) -> None:
        match what:
            case "come":
                self._come(much)
            case "pass":
                self.now_ms += much
            case "look":
                self._look(much)
            case "process":
                self.ringing.process(much)
            case "lose":
                self._lose_timers(much)
            case "start" | "own anew":
                self.since = len(self.ringing.told)
                self.ringing.start() if what == "start" else self.ringing.own_anew()

    def end(self) -> None:
        """Run until no timer is left to fire."""
        for _ in range(4 * _PEOPLE):
            self.ringing.process(self.ringing.unprocessed)
            self.now_ms += max(WAIT_MS, LOST_MS) + 1
            self._look(0)
            if not self.ringing.unprocessed and not self.ringing.timers:
                return
        raise AssertionError("timers are left")

    def _come(self, who: int) -> None:
        self.came[who].append(self.now_ms)
        self.ringing.come(f"p{who}", self.now_ms)

    def _look(self, others: int) -> None:
        """Look for due timers; `others` is a backlog besides."""
        waiting = self.ringing.ports.inputs = others + self.ringing.unprocessed
        told = self.ringing.tell_due(self.now_ms)
        mine = self.ringing.told[self.since :]
        assert told <= min(WINDOW, max(_CONGESTED - waiting, _FEW))
        assert self.lost or len(set(mine)) == len(mine), "told twice"
        assert self.lost or len(self.ringing.standing().intersection(mine)) <= WINDOW

    def _lose_timers(self, most: int) -> None:
        """Lose timer records, but no input of a person."""
        while most and self.ringing.next_is_timer:
            self.ringing.lose(1)
            self.lost, most = True, most - 1


@given(st.lists(_SOMETHING, min_size=10, max_size=40))
def test_who_stays_away_enters_once(happens: list[tuple[str, int]]) -> None:
    story = _Story()
    for what, much in happens:
        story.happen(what, much)
    story.end()
    for who, came in story.came.items():
        gaps = [after - before for before, after in pairwise(came)]
        entries = 1 + sum(gap >= WAIT_MS for gap in gaps)
        assert story.ringing.entered.count(profile_id(Identifier("email", f"p{who}"))) == entries
