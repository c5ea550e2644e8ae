"""Workers and the learner over logs in memory, which spend budgets and are killed at any point."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.decisioning.budgets.accounts import Account, account_of, record_of
from pipeline.flow import stage
from pipeline.learner.ledger import EvidenceLedger, LoggedDecision
from pipeline.learner.treasury import Treasury
from pipeline.model import topics
from pipeline.model.budget import BudgetRecord, Grant, Purse, tokens
from pipeline.model.control import Control
from pipeline.model.decision import Action, Decision
from pipeline.model.interaction import DecideRequest, Identifier, Interaction
from pipeline.model.stages import IdentitySection, ProfileSection, Segmented, SegmentSection
from pipeline.rules import Rules
from tests.support.killed import KilledError, LoggedRecord, Logs, Place, StageProcess

PARTITIONS: Final = 3
_CODEC = Codec(recorded_versions())
_STAGE = stage("decisioning")
_BEGIN_MS: Final = 2_000_000_000_000


class MemoryLeases:
    """Writer and reader of leases in memory; the learner is killed after `doomed_at` writes."""

    def __init__(self, logs: Logs, records: dict[str, BudgetRecord], doomed_at: int | None) -> None:
        self._logs = logs
        self._records = records
        self._remaining_writes = doomed_at

    def publish(self, accounts: Iterable[Account], offsets: Mapping[str, int], now_ms: int) -> None:
        """Keep the latest record of each account, as the compacted topic does."""
        for account in accounts:
            self._write()
            record = record_of(account, offsets, now_ms)
            value = _CODEC.encode(topics.BUDGETS, record)
            assert value is not None
            stored_record = _CODEC.decode(topics.BUDGETS, value)
            assert isinstance(stored_record, BudgetRecord)
            self._records[account.name] = stored_record

    def grant(
        self, grants: Sequence[tuple[int, Grant]], digest: str, now_ms: int
    ) -> dict[int, int]:
        """Append a record to each partition's input."""
        shares: defaultdict[int, list[Grant]] = defaultdict(list)
        for partition, grant in grants:
            shares[partition].append(grant)
        for partition, share in shares.items():
            self._write()
            state = msgspec.msgpack.encode(tuple(share))
            number = f"lease {partition}/{len(self._inputs(partition))}"
            control = Control(number, "lease", now_ms, "budgets", digest, state=state)
            value = _CODEC.encode(topics.SEGMENTED, Segmented(control=control))
            self._inputs(partition).append(LoggedRecord(f"budgets:{partition}".encode(), value))
        return {partition: len(self._inputs(partition)) - 1 for partition in shares}

    def processed_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the committed offsets."""
        return {
            partition: self._logs.committed_offsets[topics.SEGMENTED, partition]
            for partition in partitions
        }

    def decisions_end(self, partition: int) -> int:
        """Return the end of a partition."""
        return len(self._logs.records[topics.DECISIONS, partition])

    def _inputs(self, partition: int) -> list[LoggedRecord]:
        return self._logs.records[topics.SEGMENTED, partition]

    def _write(self) -> None:
        if self._remaining_writes is not None:
            if self._remaining_writes == 0:
                raise KilledError
            self._remaining_writes -= 1


class SpendingWorld:
    """Customers, workers and a learner. At a kill all partitions pass to the next worker, as each
    does at a rebalance. A killed worker may be a zombie: records in flight may arrive late, if
    their rows reached the changelog before."""

    def __init__(
        self, rules: Rules, folder: Path, random: Random, partitions: int = PARTITIONS
    ) -> None:
        self.rules = rules
        self.now_ms = _BEGIN_MS
        self.partitions = range(partitions)
        self.logs = Logs(partitions)
        self.records: dict[str, BudgetRecord] = {}
        self.kill_count = 0
        self._random = random
        self._folder = folder
        self._ledger_number = 0
        self._count = 0
        self._read_offsets = [0] * partitions
        self._zombies: list[StageProcess] = []
        self.worker = StageProcess(_STAGE, self.logs, rules)
        self._open()

    def _open(self) -> None:
        self.ledger = EvidenceLedger(self._folder / f"ledger-{self._ledger_number}")
        if self.ledger.is_new:
            accounts = {name: account_of(record) for name, record in self.records.items()}
            self.ledger.restore(None, accounts)
            self._catch_up()
        offsets = self.ledger.state.offsets
        self._read_offsets = [offsets.get(str(number), 0) for number in self.partitions]
        self._open_treasury(None)

    def _catch_up(self) -> None:
        """Read the decisions again that the restored accounts contain, before any others."""
        for offsets in self.ledger.restored_offsets():
            begin_offsets = self.ledger.state.offsets
            ends = {
                int(partition): max(end, begin_offsets.get(partition, 0))
                for partition, end in offsets.items()
            }
            batch = [
                decision
                for partition, end in ends.items()
                for decision in self._decisions(
                    partition, begin_offsets.get(str(partition), 0), end
                )
            ]
            self.ledger.fold(batch, ends, 1, self.now_ms)
        self.ledger.reopen_overdue()

    def _decisions(self, partition: int, begin: int, end: int) -> Iterator[LoggedDecision]:
        log = self.logs.records[topics.DECISIONS, partition]
        for offset in range(begin, end):
            value = log[offset].value
            assert value is not None
            decision = _CODEC.decode(topics.DECISIONS, value)
            assert isinstance(decision, Decision)
            yield LoggedDecision(partition, offset, decision)

    def _open_treasury(self, doomed_at: int | None) -> None:
        leases = MemoryLeases(self.logs, self.records, doomed_at)
        self.treasury = Treasury(self.ledger, leases, len(self.partitions))  # type: ignore[arg-type]

    def restart_learner(self, *, loses_disk: bool = False, doomed_at: int | None = None) -> None:
        """Kill the learner and start another, with or without its disk."""
        self.ledger.close()
        self.kill_count += 1
        self._ledger_number += loses_disk
        self._open()
        if doomed_at is not None:
            self._open_treasury(doomed_at)

    def apply(self, rules: Rules) -> None:
        """Apply another configuration, and restart the worker with it."""
        self.worker.commit()
        self.rules = rules
        self.worker = StageProcess(_STAGE, self.logs, rules)

    def learn(self, maximum: int | None = None) -> None:
        """Read up to `maximum` decisions of each partition, then publish leases, during which a
        doomed learner is killed."""
        batch: list[LoggedDecision] = []
        for partition, begin in enumerate(self._read_offsets):
            end = len(self.logs.records[topics.DECISIONS, partition])
            self._read_offsets[partition] = end if maximum is None else min(begin + maximum, end)
            batch += self._decisions(partition, begin, self._read_offsets[partition])
        self.ledger.fold(batch, dict(enumerate(self._read_offsets)), 1, self.now_ms)
        try:
            self.treasury.work(self.rules.config, self.now_ms)
        except KilledError:
            self.restart_learner()

    def put(self, name: str, customer_id: str, **parts: Any) -> None:
        """Append an interaction of a customer, as segmentation writes it."""
        self._count += 1
        request = None
        if parts.pop("asks", False):
            request = DecideRequest(f"r{self._count}", "gateway", ("hero",), self.now_ms + 1000)
        interaction = Interaction(
            event_id=f"e{self._count}",
            name=name,
            channel="web",
            source="shop",
            occurred_at=self.now_ms,
            received_at=self.now_ms,
            identifiers=(Identifier("customer_id", customer_id),),
            request=request,
            **{"kind": "track", **parts},
        )
        record = Segmented(
            interaction=interaction,
            identity=IdentitySection(
                customer_id, f"customer_id:{customer_id}", customer_id, 0, self.rules.config.digest
            ),
            profile=ProfileSection({}),
            segments=SegmentSection((), (), ()),
        )
        key = customer_id.encode()
        place = topics.SEGMENTED, self.logs.partition_of(key)
        self.logs.records[place].append(LoggedRecord(key, _CODEC.encode(topics.SEGMENTED, record)))

    def report_outcome(self, outcome: str) -> None:
        """Append an outcome of some message that was sent."""
        actions = [action for topic in ("email", "web") for action in self.actions(topic)]
        if actions:
            choice = self._random.choice(actions)
            properties = {"action_id": choice.action_id}
            self.put(outcome, choice.profile_id, kind="outcome", properties=properties)

    def actions(self, channel: str) -> list[Action]:
        """Return the messages of a channel."""
        return [action for _, action in self.logs.read(topics.actions(channel))]

    def work(self, steps: int) -> None:
        """Let the worker take `steps` steps, in any order that Kafka allows."""
        self._let_zombies_send()
        for _ in range(steps):
            inputs, in_flight = self.worker.unread_places(), self.worker.in_flight_counts()
            if not inputs and not in_flight:
                break
            if inputs and (not in_flight or self._random.random() < 0.4):
                self._process(self._random.choice(inputs))
            else:
                self.worker.deliver(self._random.choice(list(in_flight)))
        if self._random.random() < 0.5:
            self.worker.commit()

    def _let_zombies_send(self) -> None:
        for zombie in self._zombies:
            for place, length in zombie.in_flight_counts().items():
                if not place[0].endswith("-changelog"):
                    zombie.deliver(place, self._random.randint(0, length))

    def doom_worker(self) -> None:
        """Kill the worker at one of its next eight writes."""
        self.worker.doom(self._random.randrange(8))

    def _process(self, place: Place) -> None:
        try:
            self.worker.process(place)
        except KilledError:
            for place, length in self.worker.in_flight_counts().items():
                self.worker.deliver(place, self._random.randint(0, length))
            self._zombies.append(self.worker)
            self.kill_count += 1
            self.worker = StageProcess(_STAGE, self.logs, self.rules)

    def process_all(self) -> None:
        """Process everything, in rounds between which idle leases fall due for return."""
        for _ in range(6):
            while self.worker.unread_places() or self.worker.in_flight_counts():
                self.work(50)
            self.worker.commit()
            self.learn()
            self.now_ms += 1_500

    def purses(self) -> list[dict[str, Purse]]:
        """Return the purses of each partition, as its owner has them."""
        return [self.worker.purses(partition) for partition in self.partitions]

    def spent_tokens(self, name: str) -> int:
        """Return the tokens of a budget that decisions have spent: committed, or reserved and not
        expired. The first outcome of an action in the logs counts."""
        parts: dict[str, tuple[int, int | None]] = {}
        fates: dict[str, str] = {}
        for _, decision in self.logs.read(topics.DECISIONS):
            for spend in decision.spends:
                if spend.what != "reserved":
                    fates.setdefault(spend.action_id, spend.what)
                elif spend.budget == name:
                    parts[spend.action_id] = tokens(spend.amount), spend.until
        return sum(
            amount
            for action, (amount, until) in parts.items()
            if fates.get(action) == "committed"
            or (action not in fates and (until is None or self.now_ms < until))
        )
