"""Rows that a former owner writes are ignored, over compaction and stores of any age.

A list is the changelog partition. Owners succeed each other, and former ones go on writing. The
oracle is the rows that each owner wrote while it was the latest.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from agents.store.partition import PartitionStore, RowChange
from agents.store.replay import Replay
from agents.transport.fencing import TAKE_OVER, fencing_headers

_KEYS = st.sampled_from([b"a", b"b", b"c"])
_VALUES = st.none() | st.binary(max_size=2)


@dataclass(frozen=True, slots=True)
class _ChangelogRecord:
    """Record of the changelog; `owner`: the fencing token."""

    position: int
    row: RowChange
    owner: int | None

    def offset(self) -> int:
        return self.position

    def key(self) -> bytes:
        return self.row[0]

    def value(self) -> bytes | None:
        return self.row[1]

    def headers(self) -> list[tuple[str, bytes]] | None:
        return None if self.owner is None else list(fencing_headers(self.owner))


class Owners(RuleBasedStateMachine):
    """Stores of two workers, of which the owner's is up to date, and the log."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.stores = [PartitionStore(self.path / str(number)) for number in range(2)]
        self.log: list[_ChangelogRecord] = []
        self.end = 0
        self.repair_end = 0
        self.owner: int | None = None
        self.rows: dict[bytes, bytes] = {}

    def teardown(self) -> None:
        self.check_rebuilt_state()
        for store in self.stores:
            store.close()
        shutil.rmtree(self.path)

    def _append(self, row: RowChange, owner: int | None) -> None:
        self.log.append(_ChangelogRecord(self.end, row, owner))
        self.end += 1

    def _replay(self, store: PartitionStore) -> Replay:
        replay = Replay(store, self.end)
        records = [record for record in self.log if record.position >= store.next_offset]
        if records:
            replay.apply(records)  # type: ignore[arg-type]
        return replay

    @rule(key=_KEYS, value=_VALUES)
    def write_as_owner(self, key: bytes, value: bytes | None) -> None:
        """Write as the owner; before the first takeover, without a fencing token."""
        self._append((key, value), self.owner)
        if value is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = value

    @precondition(lambda self: self.owner is not None)
    @rule(key=_KEYS, value=_VALUES, takeover_count=st.integers(1, 3))
    def write_as_former_owner(self, key: bytes, value: bytes | None, takeover_count: int) -> None:
        if (self.owner or 0) > takeover_count:
            self._append((key, value), (self.owner or 0) - takeover_count)

    @rule(worker=st.integers(0, 1))
    def take_over(self, worker: int) -> None:
        store = self.stores[worker]
        replay = self._replay(store)
        assert dict(store.scan()) == self.rows
        self.owner = replay.token + 1
        rewritten_rows = replay.rows_to_write_again()
        for row in [(TAKE_OVER, b""), *rewritten_rows]:
            self._append(row, self.owner)
        replay.record_takeover(self.owner, self.end)
        self.repair_end = self.end

    @rule(worker=st.integers(0, 1))
    def die_before_takeover(self, worker: int) -> None:
        self._replay(self.stores[worker])
        self.stores[worker].close()
        self.stores[worker] = PartitionStore(self.path / str(worker))

    @rule(worker=st.integers(0, 1))
    def lose_state(self, worker: int) -> None:
        self.stores[worker].reset()

    @rule(share=st.floats(0, 1))
    def compact_log(self, share: float) -> None:
        """Compact the log up to a share of what the owner has repaired.

        No row is lost: a takeover writes the rows again that records of a former owner follow.
        """
        clean_end = round(self.repair_end * share)
        last_offsets = {
            record.key(): record.position for record in self.log if record.position < clean_end
        }
        self.log = [
            record
            for record in self.log
            if record.position >= clean_end or last_offsets[record.key()] == record.position
        ]

    @rule()
    def check_rebuilt_state(self) -> None:
        store = PartitionStore(self.path / "rebuilt")
        self._replay(store)
        assert dict(store.scan()) == self.rows
        store.close()
        shutil.rmtree(self.path / "rebuilt")


Owners.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
TestOwners = Owners.TestCase


@contextmanager
def _owners() -> Iterator[Owners]:
    owners = Owners()
    yield owners
    owners.teardown()


def test_store_up_to_date_ignores_late_records_of_a_former_owner() -> None:
    with _owners() as owners:
        for worker in (0, 1):
            owners.take_over(worker)
            owners.write_as_owner(b"a", b"%d" % worker)
        owners.take_over(0)
        owners.die_before_takeover(0)
        owners.write_as_former_owner(b"a", b"late", 2)
        owners.die_before_takeover(0)
        assert dict(owners.stores[0].scan()) == owners.rows


def test_successor_of_a_killed_owner_writes_the_row_again() -> None:
    with _owners() as owners:
        owners.take_over(0)
        owners.take_over(1)
        owners.write_as_owner(b"a", b"right")
        owners.write_as_former_owner(b"a", b"late", 1)
        owners.die_before_takeover(1)
        owners.take_over(1)
        owners.compact_log(1.0)
        owners.check_rebuilt_state()
