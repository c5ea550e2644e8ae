"""Wallets of a stage's partitions: tokens of budgets that the owner may spend, in separate rows.

A purse is written before the row of the input that changes it. A kill in between leaves the purse
changed and the row unchanged; so each purse is stored with its value before its last input, and is
reset to that value when the input is processed again.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec
from msgspec import Struct

from agents.idempotence import Position
from agents.ports import Rows
from pipeline.model.budget import Purse
from pipeline.rules import Rules

PURSE: Final = b"w"
"""Prefix of the keys of purses."""
_NO_INPUT: Final = -1
"""Offset in the row of a purse whose last change need not be undone."""


class PurseRow(Struct, frozen=True, array_like=True):
    """Purse after the input at `offset`, and the purse before that input; None: there was none."""

    offset: int
    purse: Purse
    former_purse: Purse | None


class Wallets:
    """Wallets of one stage, read once for each assignment of a partition."""

    def __init__(self, table: Rows) -> None:
        self._table = table
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(PurseRow).decode
        self._rows: dict[int, dict[str, PurseRow]] = {}
        self._purses: dict[int, dict[str, Purse]] = {}
        self._last_offsets: dict[int, int] = {}
        self._rules: dict[int, tuple[Rules, Rules]] = {}

    def equip(self, rules: Rules, position: Position) -> Rules:
        """Return the rules with the purses for an input that no row contains yet."""
        purses = self._purses.get(position.partition)
        if purses is None:
            purses = self._load(position.partition)
        if self._last_offsets[position.partition] == position.offset:
            self._undo(position)
        entry = self._rules.get(position.partition)
        if entry is not None and entry[0] is rules:
            return entry[1]  # its wallet is `purses`, which changes in place
        rules_with_wallet = replace(rules, wallet=purses)
        self._rules[position.partition] = rules, rules_with_wallet
        return rules_with_wallet

    def write(self, position: Position, changes: Mapping[str, Purse]) -> None:
        """Write the purses that an input changes; to be called before its row is written."""
        if not changes:
            return
        partition, offset = position.partition, position.offset
        rows, purses = self._rows[partition], self._purses[partition]
        for name, purse in changes.items():
            row = rows.get(name)
            if row is None:
                former_purse = None
            else:
                former_purse = row.former_purse if row.offset == offset else row.purse
            rows[name] = new_row = PurseRow(offset, purse, former_purse)
            purses[name] = purse
            self._table.put_in(partition, PURSE + name.encode(), self._encode(new_row))
        self._last_offsets[partition] = offset

    def clear_cache(self) -> None:
        """Drop the cached purses, which another worker may have changed."""
        self._rows.clear()
        self._purses.clear()
        self._last_offsets.clear()
        self._rules.clear()

    def _load(self, partition: int) -> dict[str, Purse]:
        rows = self._rows[partition] = {
            key[len(PURSE) :].decode(): self._decode(value)
            for key, value in self._table.scan_in(partition, PURSE)
        }
        self._last_offsets[partition] = max(
            (row.offset for row in rows.values()), default=_NO_INPUT
        )
        purses = self._purses[partition] = {name: row.purse for name, row in rows.items()}
        return purses

    def _undo(self, position: Position) -> None:
        """Undo the changes of an input whose row was not written."""
        partition = position.partition
        rows, purses = self._rows[partition], self._purses[partition]
        for name, row in list(rows.items()):
            if row.offset != position.offset:
                continue
            key = PURSE + name.encode()
            if row.former_purse is None:
                del rows[name], purses[name]
                self._table.delete_in(partition, key)
            else:
                rows[name] = former_row = PurseRow(_NO_INPUT, row.former_purse, None)
                purses[name] = row.former_purse
                self._table.put_in(partition, key, self._encode(former_row))
        self._last_offsets[partition] = _NO_INPUT
