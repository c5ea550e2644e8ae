"""The sent index is kept for as long as its inputs may be redelivered."""

from faust.types import TP

from agents.transport.sent_index import SentIndex

_INPUT, _OTHER_INPUT = TP("in", 0), TP("in", 1)
_INDEX = SentIndex(since_ms=1_000, ends={_INPUT: 5, _OTHER_INPUT: 7})


def test_index_is_obsolete_once_all_its_inputs_are_committed() -> None:
    assert not _INDEX.is_obsolete({})
    assert not _INDEX.is_obsolete({_INPUT: 5})
    assert not _INDEX.is_obsolete({_INPUT: 5, _OTHER_INPUT: 6})
    assert _INDEX.is_obsolete({_INPUT: 5, _OTHER_INPUT: 7})
    assert _INDEX.is_obsolete({_INPUT: 9, _OTHER_INPUT: 8, TP("other", 0): 0})


def test_earlier_commit_notes_the_time_of_the_predecessor() -> None:
    assert _INDEX.commit_note(_INPUT, 4, 2_000) == "1000"
    assert _INDEX.commit_note(_INPUT, 5, 2_000) == "2000"
    assert _INDEX.commit_note(TP("other", 0), 0, 2_000) == "2000"
