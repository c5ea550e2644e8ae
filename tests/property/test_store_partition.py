"""Partition stores show every write at once, and on disk have the rows of a prefix of their log."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agents.store.partition import PartitionStore

Log = list[tuple[bytes, bytes | None]]

_KEYS = st.sampled_from([b"a", b"aa", b"ab", b"b", b""])
_PREFIXES = st.sampled_from([b"", b"a", b"aa", b"c"])


def _replay(log: Log) -> dict[bytes, bytes]:
    rows: dict[bytes, bytes] = {}
    for key, value in log:
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value
    return rows


class StoreAgainstLog(RuleBasedStateMachine):
    """Store, and a list as its changelog: the n-th write is the record with offset n."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.log: Log = []
        self.cut_offset = 0
        self.store = PartitionStore(self.path / "0")

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.path)

    @rule(key=_KEYS, value=st.none() | st.binary(max_size=3))
    def write(self, key: bytes, value: bytes | None) -> None:
        self.store.put(key, value)
        self.log.append((key, value))

    @rule()
    def cut(self) -> None:
        self.store.cut()
        self.cut_offset = len(self.log)

    @rule()
    def persist(self) -> None:
        self.store.persist(self.cut_offset)

    @rule(later_writes=st.lists(st.tuples(_KEYS, st.none() | st.binary(max_size=3)), max_size=2))
    def commit(self, later_writes: Log) -> None:
        self.cut()
        for key, value in later_writes:
            self.write(key, value)
        self.persist()

    @rule()
    def persist_without_offset(self) -> None:
        former_offset = self.store.next_offset
        self.store.persist(None)
        assert self.store.next_offset == former_offset

    @rule(share=st.floats(0, 1))
    def reopen_and_restore(self, share: float) -> None:
        """Reopen the store, which loses its writes in memory as in a kill, and restore it from a
        changelog that has the first `share` of the writes after the store's offset."""
        self.store.close()
        self.store = PartitionStore(self.path / "0")
        start = self.store.next_offset
        assert dict(self.store.scan()) == _replay(self.log[:start])
        next_offset = start + round((len(self.log) - start) * share)
        self.log = self.log[:next_offset]
        self.store.restore(self.log[start:], next_offset)
        self.cut_offset = next_offset

    @rule()
    def rebuild_after_loss(self) -> None:
        self.store.reset()
        assert self.store.next_offset == 0
        self.store.restore(self.log, len(self.log))
        self.cut_offset = len(self.log)

    @rule(prefix=_PREFIXES)
    def scan_in_key_order(self, prefix: bytes) -> None:
        rows = [item for item in _replay(self.log).items() if item[0].startswith(prefix)]
        assert list(self.store.scan(prefix)) == sorted(rows)

    @invariant()
    def check_every_key(self) -> None:
        rows = _replay(self.log)
        for key in (b"a", b"aa", b"ab", b"b", b""):
            assert self.store.get(key) == rows.get(key)


StoreAgainstLog.TestCase.settings = settings(max_examples=15, stateful_step_count=15)
TestStoreAgainstLog = StoreAgainstLog.TestCase
