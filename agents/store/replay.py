"""Replay of a changelog partition into its store, without void records of former owners."""

from collections.abc import Sequence

from agents.store.partition import PartitionStore, RowChange
from agents.transport.fencing import TAKE_OVER, fencing_token_of
from agents.transport.records import Record


class Replay:
    """Replay of one partition.

    `end`: offset after the last applied record; before that, the end of the changelog. `token`: the
    fencing token there.
    """

    def __init__(self, store: PartitionStore, end: int) -> None:
        """Begin a replay into `store`; `end`: the end of its changelog."""
        self.end = end
        self.token = store.token
        self._store = store
        self._void_keys: set[bytes] = set()
        self._first_void: tuple[int, int] | None = None
        """Offset of the first void record, and the fencing token there."""

    def apply(self, records: Sequence[Record]) -> None:
        """Apply the next records.

        The store's offset stays before the first void record, so that a later replay from there
        finds again which rows must be rewritten.
        """
        changes: list[RowChange] = []
        for record in records:
            key, token = record.key() or b"", fencing_token_of(record)
            if key == TAKE_OVER:
                self.token = max(self.token, token or 0)
            elif token is not None and token < self.token:
                self._first_void = self._first_void or (record.offset(), self.token)
                self._void_keys.add(key)
            else:
                self.token = self.token if token is None else token
                self._void_keys.discard(key)
                changes.append((key, record.value()))
        self.end = records[-1].offset() + 1
        self._store.restore(changes, *(self._first_void or (self.end, self.token)))

    def rows_to_write_again(self) -> list[RowChange]:
        """Return the current rows whose last record in the changelog is void."""
        return [(key, self._store.get(key)) for key in sorted(self._void_keys)]

    def record_takeover(self, token: int, end: int) -> None:
        """Record that all records below `end` are applied, and `token` is in force from there."""
        self.token, self.end = token, end
        self._void_keys, self._first_void = set(), None
        self._store.restore([], end, token)
