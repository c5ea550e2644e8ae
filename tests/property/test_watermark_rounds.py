"""Rounds are short, and every partition that answers is asked in time, however slow or broken other
partitions are."""

from confluent_kafka import KafkaError, KafkaException
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from agents.transport.watermark_rounds import WatermarkRounds

_ROUND_S = 0.1
_MAX_ANSWER_S = 0.1
"""An answer that takes longer is a failure."""

_ANSWERS = st.tuples(st.floats(0, _MAX_ANSWER_S), st.booleans())


@given(st.dictionaries(st.integers(0, 63), _ANSWERS, min_size=1, max_size=64))
def test_answering_partitions_are_returned_by_rounds_of_bounded_time(
    answers: dict[int, tuple[float, bool]],
) -> None:
    now_s = 0.0

    def request_end(tp: TP) -> int:
        nonlocal now_s
        duration_s, is_failure = answers[tp.partition]
        now_s += duration_s
        if is_failure:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return tp.partition

    rounds = WatermarkRounds(request_end, _ROUND_S, lambda: now_s)
    tps = {TP("topic", partition) for partition in answers}
    all_ends: dict[TP, int] = {}
    for _ in tps:  # one round a partition suffices even if a round has time for one only
        begin_s = now_s
        ends, error = rounds.ask(tps)
        assert now_s - begin_s < _ROUND_S + _MAX_ANSWER_S
        assert error is None or any(is_failure for _, is_failure in answers.values())
        all_ends |= ends
    assert all_ends == {tp: tp.partition for tp in tps if not answers[tp.partition][1]}


@given(st.sets(st.integers(0, 63), min_size=1), st.sets(st.integers(0, 63), min_size=1))
def test_new_partitions_are_asked_after_an_assignment(
    old_partitions: set[int], new_partitions: set[int]
) -> None:
    rounds = WatermarkRounds(lambda tp: tp.partition, _ROUND_S, lambda: 0.0)
    for partitions in (old_partitions, new_partitions):
        ends, error = rounds.ask(TP("topic", partition) for partition in partitions)
        assert (set(ends.values()), error) == (partitions, None)
