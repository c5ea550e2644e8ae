"""Sequences complete as by brute force over every choice of steps; shards unite in any order."""

from itertools import combinations
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.compiled import CompiledSequence
from pipeline.enrichment.sequences import (
    MAX_MARKS,
    PANE_COUNT,
    Mark,
    completion_at,
    prune_marks,
    union,
)
from pipeline.model.time import GRACE_MS

_WINDOW_MS = 4
_LONG_WINDOW_MS = 1_000

marks = st.lists(
    st.builds(
        Mark, st.integers(0, 12), st.text("abcd", min_size=1, max_size=2), st.integers(1, 15)
    ),
    max_size=9,
    unique_by=lambda mark: (mark.at, mark.event_id),
)


def sequence(step_count: int, retention_ms: int = 100) -> CompiledSequence:
    return CompiledSequence("~s", step_count, (), None, _WINDOW_MS, retention_ms)


def brute_force_completion(marks: list[Mark], step_count: int) -> int | None:
    completion_times = []
    sorted_marks = sorted(marks)
    for indices in combinations(range(len(sorted_marks)), step_count):
        first, last = sorted_marks[indices[0]], sorted_marks[indices[-1]]
        fits = all(sorted_marks[index].part_bits >> step & 1 for step, index in enumerate(indices))
        is_broken = any(
            mark.part_bits >> step_count for mark in sorted_marks[indices[0] + 1 : indices[-1] + 1]
        )
        if fits and not is_broken and last.at - first.at <= _WINDOW_MS:
            completion_times.append(last.at)
    return max(completion_times, default=None)


@given(marks, st.integers(2, 4))
def test_completion_equals_the_latest_of_all_choices(
    drawn_marks: list[Mark], step_count: int
) -> None:
    assert completion_at(union(drawn_marks), sequence(step_count)) == brute_force_completion(
        drawn_marks, step_count
    )


@given(marks, marks, marks)
def test_union_of_shards_is_the_same_in_any_order(
    a: list[Mark], b: list[Mark], c: list[Mark]
) -> None:
    assert union(union(a), union(union(b), union(c))) == union(union(c, a), b)


@given(marks, st.integers(0, 20), st.integers(0, 5))
def test_pruned_marks_give_the_same_completion(
    drawn_marks: list[Mark], now_ms: int, duration_ms: int
) -> None:
    # Holds for completions younger than `duration_ms`.
    definition = sequence(2, retention_ms=_WINDOW_MS + duration_ms)
    now_ms = max([now_ms, *(mark.at for mark in drawn_marks)])
    expected = completion_at(union(drawn_marks), definition)
    answer = completion_at(prune_marks(union(drawn_marks), definition, now_ms), definition)
    if expected is not None and expected > now_ms - duration_ms:
        assert answer == expected


@st.composite
def _long_streams(draw: st.DrawFn, part_count: int) -> list[Mark]:
    """Draw thousands of marks in their order: stretches of one kind and stretches of several."""
    seed = draw(st.integers(0, 2**32 - 1))
    random, at_ms, marks = Random(seed), 0, list[Mark]()
    while len(marks) < 3_000:
        kinds = random.sample(range(part_count), random.randint(1, part_count))
        max_gap_ms = random.choice([1, 1, 2, _LONG_WINDOW_MS // 50])
        for _ in range(random.choice([1, 2, 5, 400])):
            at_ms += random.randint(0, max_gap_ms)
            marks.append(Mark(at_ms, f"e{len(marks):06}", 1 << random.choice(kinds)))
    return marks


def latest_completion(marks: list[Mark], step_count: int) -> int | None:
    """Return the time of the latest completion, found from each mark of the first step."""
    completion_times: list[int] = []
    for index, first in enumerate(marks):
        if not first.part_bits & 1:
            continue
        step = 1
        for mark in marks[index + 1 :]:
            if mark.at - first.at > _LONG_WINDOW_MS or mark.part_bits >> step_count:
                break
            if step < step_count - 1:
                step += mark.part_bits >> step & 1
            elif mark.part_bits >> step & 1:
                completion_times.append(mark.at)
    return max(completion_times, default=None)


@settings(max_examples=15)
@given(st.integers(2, 4), st.sampled_from([0, _LONG_WINDOW_MS, 12 * _LONG_WINDOW_MS]), st.data())
def test_bounded_marks_give_the_answer_of_all_marks(
    step_count: int, duration_ms: int, data: st.DataObject
) -> None:
    # Marks come in order, some of excluded events; the answers are compared every 30 marks.
    sequence = CompiledSequence(
        "~s", step_count, (), None, _LONG_WINDOW_MS, _LONG_WINDOW_MS + duration_ms
    )
    marks = data.draw(_long_streams(step_count + 1))
    kept_marks: tuple[Mark, ...] = ()
    for count, new_mark in enumerate(marks, start=1):
        kept_marks = prune_marks(union(kept_marks, (new_mark,)), sequence, new_mark.at)
        assert len(kept_marks) <= 4 * MAX_MARKS
        if count % 30 == 0:
            window_marks = [
                mark for mark in marks[:count] if mark.at >= new_mark.at - sequence.retention_ms
            ]
            expected, answer = (
                latest_completion(window_marks, step_count),
                completion_at(kept_marks, sequence),
            )
            if expected is not None and expected > new_mark.at - duration_ms:
                assert answer == expected
            else:
                assert answer is None or answer <= new_mark.at - duration_ms


def test_first_step_is_kept_while_many_second_steps_follow() -> None:
    # A login, and a page each second in the same shard or in another.
    two_hours_ms, day_ms = 7_200_000, 86_400_000
    sequence = CompiledSequence("~s", 2, (), None, two_hours_ms, two_hours_ms + day_ms + GRACE_MS)
    login = Mark(0, "login", 1)
    one_shard, second_shard = (login,), ()
    for second in range(1, 20_000):
        page = Mark(second * 1_000, f"p{second}", 2)
        one_shard = prune_marks(union(one_shard, (page,)), sequence, page.at)
        second_shard = prune_marks(union(second_shard, (page,)), sequence, page.at)
    assert completion_at(one_shard, sequence) == two_hours_ms
    completion = completion_at(union((login,), second_shard), sequence)
    assert completion is not None
    assert two_hours_ms - (two_hours_ms + day_ms) // PANE_COUNT <= completion <= two_hours_ms
