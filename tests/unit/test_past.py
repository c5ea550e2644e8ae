"""What was sent before is known for as long as its inputs may come again."""

from faust.types import TP

from agents.transport.past import Past

_IN, _OTHER = TP("in", 0), TP("in", 1)
_PAST = Past(since_ms=1_000, ends={_IN: 5, _OTHER: 7})


def test_it_is_over_once_every_partition_is_committed_to_where_it_ended() -> None:
    assert not _PAST.is_over({})
    assert not _PAST.is_over({_IN: 5})
    assert not _PAST.is_over({_IN: 5, _OTHER: 6})
    assert _PAST.is_over({_IN: 5, _OTHER: 7})
    assert _PAST.is_over({_IN: 9, _OTHER: 8, TP("other", 0): 0})


def test_a_commit_before_that_leaves_word_of_the_time_before() -> None:
    assert _PAST.note(_IN, 4, 2_000) == "1000"
    assert _PAST.note(_IN, 5, 2_000) == "2000"
    assert _PAST.note(TP("other", 0), 0, 2_000) == "2000"
