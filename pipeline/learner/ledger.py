"""Ledger on disk: rows of actions, tallies, budgets and offsets, changed in one batch.

The changes of a batch of records and the offsets after it are written atomically, so every record
is counted exactly once, even after a kill.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from struct import Struct as Layout
from typing import Final

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace
from rocksdict import Rdict, WriteBatch

from pipeline.adapters.rocks import open_rows
from pipeline.decisioning.budgets.accounts import OVERDUE, Account, SpendingCount, SpentAction
from pipeline.decisioning.learning.counting import (
    ActionRow,
    Arm,
    Tally,
    TallyChange,
    add,
    apply_feedback,
    tally_changes,
)
from pipeline.model.decision import Decision
from pipeline.model.learning import LearningRecord

_ACTION: Final = b"a"
_EXPIRY: Final = b"x"
_TALLY: Final = b"t"
_STATE: Final = b"s"
_ACCOUNT: Final = b"b"
_SPENDING: Final = b"p"
_SPENDING_DUE: Final = b"q"
_TIME: Final = Layout(">Q")
_EXPIRY_BATCH: Final = 10_000
"""Most rows that are removed in one batch."""


class LedgerState(Struct, frozen=True):
    """Progress: `offsets` by partition of `decisions` (next to be read), `as_of` (ms): the latest
    evidence; `number` of the last known snapshot.

    `counted`: offsets up to which evidence is in the tallies already, if the ledger was recreated
    from a snapshot; evidence before them changes rows of actions and no tallies.
    """

    offsets: dict[str, int] = field(default_factory=dict)
    as_of: int = 0
    number: int = 0
    counted: dict[str, int] = field(default_factory=dict)


class LoggedDecision(Struct, frozen=True):
    """Decision with its place in the topic."""

    partition: int
    offset: int
    decision: Decision


class EvidenceLedger:
    """Evidence of one learner, which survives a kill at any point."""

    def __init__(self, folder: Path) -> None:
        self._rows: Rdict = open_rows(folder)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode_action = msgspec.msgpack.Decoder(ActionRow).decode
        value = self._rows.get(_STATE)
        self.is_new = value is None
        self.state = LedgerState() if value is None else _state(value)
        self._decode_spending = msgspec.msgpack.Decoder(SpentAction).decode
        decode_account = msgspec.msgpack.Decoder(Account).decode
        self.accounts: dict[str, Account] = {
            key[1:].decode(): decode_account(value) for key, value in _scan(self._rows, _ACCOUNT)
        }
        self._account_changes: set[str] = set()
        decode_tally = msgspec.msgpack.Decoder(Tally).decode
        self.tallies: dict[Arm, Tally] = {
            msgspec.msgpack.decode(key[1:], type=Arm): decode_tally(value)
            for key, value in _scan(self._rows, _TALLY)
        }

    def restore(self, snapshot: LearningRecord | None, accounts: Mapping[str, Account]) -> None:
        """Recreate a lost ledger from its published state, evidence and accounts at once."""
        state = self.state
        if snapshot is not None:
            self.tallies = {
                (posterior.campaign, posterior.offer, posterior.treatment, posterior.bin): Tally(
                    snapshot.as_of,
                    posterior.trials,
                    posterior.successes,
                    posterior.tried,
                    posterior.reached,
                )
                for posterior in snapshot.posteriors
            }
            state = LedgerState({}, snapshot.as_of, snapshot.number, snapshot.offsets)
        spending = SpendingCount({}, self._find_spent_action, 0, changed_accounts=dict(accounts))
        self._write(state, {}, self.tallies, spending)

    def fold(
        self,
        decisions: Iterable[LoggedDecision],
        ends: Mapping[int, int],
        half_life_ms: int,
        now_ms: int = 0,
    ) -> int:
        """SpendingCount decisions; return the number of reports of feedback in them.

        `ends`: offsets after the batch by partition; `now_ms`: time from which the rows of spending
        are kept.
        """
        spending = SpendingCount(self.accounts, self._find_spent_action, now_ms)
        rows: dict[str, ActionRow] = {}
        tallies: dict[Arm, Tally] = {}
        as_of, count = self.state.as_of, 0
        for entry in decisions:
            decision = entry.decision
            spending.count_decision(decision, entry.partition, entry.offset)
            is_uncounted = entry.offset >= self.state.counted.get(str(entry.partition), 0)
            for feedback in decision.feedback:
                old_row = rows.get(feedback.action_id) or self._find_action(feedback.action_id)
                new_row = rows[feedback.action_id] = apply_feedback(old_row, feedback, decision)
                as_of, count = max(as_of, decision.decided_at), count + 1
                for change in tally_changes(old_row, new_row) if is_uncounted else ():
                    tallies[change.arm] = self._add_to_tally(tallies, change, half_life_ms)
        self.tallies.update(tallies)
        offsets = {**self.state.offsets, **{str(partition): end for partition, end in ends.items()}}
        state = LedgerState(offsets, as_of, self.state.number, self.state.counted)
        self._write(state, rows, tallies, spending)
        return count

    def restored_offsets(self) -> list[dict[str, int]]:
        """Return the offsets, by partition, up to which the restored snapshot's evidence and
        accounts were complete; the earliest first."""
        counts = [self.state.counted, *(account.counted for account in self.accounts.values())]
        return sorted(
            (offsets for offsets in counts if offsets), key=lambda offsets: sum(offsets.values())
        )

    def reopen_overdue(self) -> None:
        """Schedule the release of reservations that were overdue when the restored accounts were
        published, but not yet released, because they were received late.

        `Account.expiring` has their amount, but not their actions, so any actions of that amount
        are released.
        """
        missing_tokens = {
            account.name: account.expiring for account in self.accounts.values() if account.counted
        }
        overdue_actions: list[tuple[str, SpentAction]] = []
        for key, value in _scan(self._rows, _SPENDING) if missing_tokens else ():
            row = self._decode_spending(value)
            if row.status == OVERDUE:
                overdue_actions.append((key[1:].decode(), row))
            elif row.status == "reserved" and row.until is not None:
                for name, amount in self._running_parts(row):
                    if name in missing_tokens:
                        missing_tokens[name] -= amount
        spending = SpendingCount({}, self._find_spent_action, 0)
        for action_id, row in overdue_actions:
            parts = [part for part in self._running_parts(row) if part[0] in missing_tokens]
            if parts and all(amount <= missing_tokens[name] for name, amount in parts):
                spending.actions[action_id] = replace(row, status="reserved")
                for name, amount in parts:
                    missing_tokens[name] -= amount
        self._write(self.state, {}, {}, spending)

    def _running_parts(self, row: SpentAction) -> Iterator[tuple[str, int]]:
        """Yield budgets and tokens of an action, in their running periods."""
        for name, period, amount in row.parts:
            account = self.accounts.get(name)
            if account is not None and account.period.name == period:
                yield name, amount

    def put_accounts(self, accounts: Mapping[str, Account]) -> None:
        """Write accounts."""
        spending = SpendingCount(
            self.accounts, self._find_spent_action, 0, changed_accounts=dict(accounts)
        )
        self._write(self.state, {}, {}, spending)

    def expire_spending(self, now_ms: int) -> None:
        """Release reservations of actions that were not shown in time; delete old rows."""
        spending = SpendingCount(self.accounts, self._find_spent_action, now_ms)
        deletions: list[bytes] = []
        for count, (key, _) in enumerate(_scan(self._rows, _SPENDING_DUE)):
            if count >= _EXPIRY_BATCH or _TIME.unpack_from(key, 1)[0] > now_ms:
                break
            name = key[1 + _TIME.size :]
            deletions.append(key)
            row = self._find_spent_action(name.decode())
            if row is not None and row.due <= now_ms:
                if row.due == row.forget_at:
                    deletions.append(_SPENDING + name)
                else:
                    spending.expire(name.decode())
        if deletions:
            self._write(self.state, {}, {}, spending, deletions)

    def take_changed_accounts(self) -> set[str]:
        """Return the names of the accounts that have changed since the last call."""
        names, self._account_changes = self._account_changes, set()
        return names

    def store_snapshot_number(self, number: int) -> None:
        """Store the number of the newest snapshot."""
        state = self.state
        self._write(LedgerState(state.offsets, state.as_of, number, state.counted), {}, {})

    def expire(self, now_ms: int) -> None:
        """Remove rows of actions whose goal's window ended before `now_ms`."""
        batch = WriteBatch(raw_mode=True)
        for count, (key, _) in enumerate(_scan(self._rows, _EXPIRY)):
            if count >= _EXPIRY_BATCH or _TIME.unpack_from(key, 1)[0] >= now_ms:
                break
            name = key[1 + _TIME.size :]
            batch.delete(key)
            row = self._find_action(name.decode())
            # A longer window has a later entry of its own.
            if row is not None and row.until < now_ms:
                batch.delete(_ACTION + name)
        self._rows.write(batch)

    def close(self) -> None:
        """Close the database."""
        self._rows.close()

    def _find_spent_action(self, action_id: str) -> SpentAction | None:
        value = self._rows.get(_SPENDING + action_id.encode())
        return None if value is None else self._decode_spending(value)

    def _find_action(self, action_id: str) -> ActionRow | None:
        value = self._rows.get(_ACTION + action_id.encode())
        return None if value is None else self._decode_action(value)

    def _add_to_tally(
        self, tallies: dict[Arm, Tally], change: TallyChange, half_life_ms: int
    ) -> Tally:
        tally = tallies.get(change.arm) or self.tallies.get(change.arm) or Tally()
        return add(tally, change, half_life_ms)

    def _write(
        self,
        state: LedgerState,
        rows: dict[str, ActionRow],
        tallies: dict[Arm, Tally],
        spending: SpendingCount | None = None,
        deletions: Iterable[bytes] = (),
    ) -> None:
        batch = WriteBatch(raw_mode=True)
        for key in deletions:
            batch.delete(key)
        for action_id, row in rows.items():
            name = action_id.encode()
            batch.put(_ACTION + name, self._encode(row))
            batch.put(_EXPIRY + _TIME.pack(row.until) + name, b"")
        for arm, tally in tallies.items():
            batch.put(_TALLY + self._encode(arm), self._encode(tally))
        if spending is not None:
            self._put_spending(batch, spending)
        batch.put(_STATE, self._encode(state))
        self._rows.write(batch)
        self.state = state
        if spending is not None:
            self.accounts.update(spending.changed_accounts)
            self._account_changes.update(spending.changed_accounts)

    def _put_spending(self, batch: WriteBatch, spending: SpendingCount) -> None:
        for action_id, row in spending.actions.items():
            name = action_id.encode()
            batch.put(_SPENDING + name, self._encode(row))
            batch.put(_SPENDING_DUE + _TIME.pack(row.due) + name, b"")
        for account in spending.changed_accounts.values():
            batch.put(_ACCOUNT + account.name.encode(), self._encode(account))


def _state(value: bytes) -> LedgerState:
    return msgspec.msgpack.decode(value, type=LedgerState)


def _scan(rows: Rdict, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    for key, value in rows.items(from_key=prefix):
        assert isinstance(key, bytes)
        if not key.startswith(prefix):
            return
        yield key, value
