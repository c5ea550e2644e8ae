"""Replay of a changelog partition into its store, without void records of former owners."""

from collections.abc import Sequence

from agents.store.partition import Change, PartitionStore
from agents.transport.fencing import TAKE_OVER, fencing_token_of
from agents.transport.records import Record


class Replay:
    """Replay of one partition, which has applied the records below `end`.

    `owner`: the fencing token at `end`.
    """

    def __init__(self, store: PartitionStore, end: int) -> None:
        """Begin a replay of the records up to `end`, which later records move on."""
        self.end = end
        self.owner = store.owner
        self._store = store
        self._void_keys: set[bytes] = set()
        self._before_void: tuple[int, int] | None = None

    def apply(self, records: Sequence[Record]) -> None:
        """Apply the next records.

        The store's offset stays before the first void record, so that a later replay from there
        finds again which rows must be rewritten.
        """
        changes: list[Change] = []
        for record in records:
            key, owner = record.key() or b"", fencing_token_of(record)
            if key == TAKE_OVER:
                self.owner = max(self.owner, owner or 0)
            elif owner is not None and owner < self.owner:
                self._before_void = self._before_void or (record.offset(), self.owner)
                self._void_keys.add(key)
            else:
                self.owner = self.owner if owner is None else owner
                self._void_keys.discard(key)
                changes.append((key, record.value()))
        self.end = records[-1].offset() + 1
        self._store.restore(changes, *(self._before_void or (self.end, self.owner)))

    def rows_to_write_again(self) -> list[Change]:
        """Return the current rows whose last record in the changelog is void."""
        return [(key, self._store.get(key)) for key in sorted(self._void_keys)]

    def record_takeover(self, owner: int, end: int) -> None:
        """Record that all records below `end` are applied, and `owner` is the token from there."""
        self.owner, self.end = owner, end
        self._void_keys, self._before_void = set(), None
        self._store.restore([], end, owner)
