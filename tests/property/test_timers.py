"""Each absence lets a customer enter a segment once, also when workers are killed, partitions move
or timer records are lost."""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agents.timers import LOST_MS, MAX_IN_FLIGHT
from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier
from tests.support.timer_stage import START_MS, WAIT_MS, TimerStage

_PERSON_COUNT = 2 * MAX_IN_FLIGHT
_BACKLOG_LIMIT = 50
_MIN_TIMERS = 2

_EVENTS = st.one_of(
    st.tuples(st.just("come"), st.integers(0, _PERSON_COUNT - 1)),
    st.tuples(st.just("pass"), st.sampled_from([1, WAIT_MS - 1, WAIT_MS])),
    st.tuples(st.just("look"), st.sampled_from([0, 0, 0, _BACKLOG_LIMIT - 1, _BACKLOG_LIMIT])),
    st.tuples(st.just("process"), st.integers(1, 2 * _PERSON_COUNT)),
    st.tuples(st.just("lose"), st.integers(1, MAX_IN_FLIGHT)),
    st.tuples(st.just("start"), st.just(0)),
    st.tuples(st.just("assign"), st.just(0)),
)


@dataclass
class _History:
    """History of one partition; `first_firing_index`: where the present owner's firings begin."""

    timer_stage: TimerStage = field(default_factory=TimerStage)
    now_ms: int = START_MS
    arrivals: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    first_firing_index: int = 0
    has_lost_timers: bool = False

    def __post_init__(self) -> None:
        """Let every customer interact, and time pass until every timer is due."""
        for person in range(_PERSON_COUNT):
            self._interact(person)
        self.timer_stage.process(_PERSON_COUNT)
        self.now_ms += WAIT_MS

    def run_event(self, kind: str, amount: int) -> None:
        match kind:
            case "come":
                self._interact(amount)
            case "pass":
                self.now_ms += amount
            case "look":
                self._look(amount)
            case "process":
                self.timer_stage.process(amount)
            case "lose":
                self._lose_timers(amount)
            case "start":
                self.first_firing_index = len(self.timer_stage.firings)
                self.timer_stage.start()
            case "assign":
                self.first_firing_index = len(self.timer_stage.firings)
                self.timer_stage.on_assignment()

    def end(self) -> None:
        """Run until no timer is left to fire."""
        for _ in range(4 * _PERSON_COUNT):
            self.timer_stage.process(self.timer_stage.unprocessed_count)
            self.now_ms += max(WAIT_MS, LOST_MS) + 1
            self._look(0)
            if not self.timer_stage.unprocessed_count and not self.timer_stage.timers:
                return
        raise AssertionError("timers are left")

    def _interact(self, person: int) -> None:
        self.arrivals[person].append(self.now_ms)
        self.timer_stage.write_input(f"p{person}", self.now_ms)

    def _look(self, other_input_count: int) -> None:
        """Fire due timers while the backlog has `other_input_count` inputs besides the log's."""
        backlog = self.timer_stage.ports.backlog_size = (
            other_input_count + self.timer_stage.unprocessed_count
        )
        count = self.timer_stage.fire_due_timers(self.now_ms)
        fired_timers = self.timer_stage.firings[self.first_firing_index :]
        assert count <= min(MAX_IN_FLIGHT, max(_BACKLOG_LIMIT - backlog, _MIN_TIMERS))
        assert self.has_lost_timers or len(set(fired_timers)) == len(fired_timers), "fired twice"
        assert (
            self.has_lost_timers
            or len(self.timer_stage.armed_timers().intersection(fired_timers)) <= MAX_IN_FLIGHT
        )

    def _lose_timers(self, max_count: int) -> None:
        """Lose timer records, but no input of a person."""
        while max_count and self.timer_stage.next_is_timer:
            self.timer_stage.drop_inputs(1)
            self.has_lost_timers, max_count = True, max_count - 1


@given(st.lists(_EVENTS, min_size=10, max_size=40))
def test_customer_enters_once_for_each_absence(events: list[tuple[str, int]]) -> None:
    history = _History()
    for kind, amount in events:
        history.run_event(kind, amount)
    history.end()
    for person, arrivals in history.arrivals.items():
        gaps = [arrival - former for former, arrival in pairwise(arrivals)]
        entries = 1 + sum(gap >= WAIT_MS for gap in gaps)
        assert (
            history.timer_stage.entries.count(profile_id(Identifier("email", f"p{person}")))
            == entries
        )
