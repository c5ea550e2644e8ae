"""An owner of a changelog partition notices that another worker has written to it."""

from dataclasses import dataclass
from typing import Final

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from agents.transport.epochs import Epoch
from agents.transport.errors import ChangelogTakenError
from agents.transport.fencing import ChangelogFence

_TOPIC: Final = "changelog"
_FIRST_OFFSET: Final = 7


@dataclass(frozen=True, slots=True)
class _DeliveredRecord:
    position: int

    def topic(self) -> str:
        return _TOPIC

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.position


def _epoch(offsets: list[int]) -> Epoch:
    epoch = Epoch(lambda error, record: None)
    epoch.outstanding_count = len(offsets)
    for offset in offsets:
        epoch.on_changelog(None, _DeliveredRecord(offset))  # type: ignore[arg-type]
    return epoch


@given(st.lists(st.lists(st.booleans(), max_size=5), max_size=5))
def test_foreign_record_before_an_owners_record_is_noticed(epochs: list[list[bool]]) -> None:
    # The log is divided into the owner's epochs; a flag states whether the owner wrote a record.
    ownership = ChangelogFence()
    ownership.begin_ownership(TP(_TOPIC, 0), token=3, end=_FIRST_OFFSET)
    own_flags: list[bool] = []
    for writers in epochs:
        first_offset = _FIRST_OFFSET + len(own_flags)
        own_offsets = [first_offset + index for index, is_own in enumerate(writers) if is_own]
        own_flags += writers
        if own_offsets and not all(own_flags[: own_offsets[-1] - _FIRST_OFFSET]):
            with pytest.raises(ChangelogTakenError, match="another worker has written"):
                ownership.check(_epoch(own_offsets))
            return
        ownership.check(_epoch(own_offsets))


def test_partitions_not_owned_are_not_checked() -> None:
    ChangelogFence().check(_epoch([3, 9]))
