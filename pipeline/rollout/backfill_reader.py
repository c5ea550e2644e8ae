"""Totals of each shard's interactions from before a configuration's new aggregates.

The totals are read from `interactions.segmented`, which has the shard and the configuration of each
interaction, and longer retention than `interactions`. As there are as many shards as customers, the
totals are kept in rows, which may be on disk.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct, field

from pipeline.adapters.rocks import RowMap
from pipeline.conditions import Facts
from pipeline.config.aggregates import shape_of
from pipeline.enrichment.aggregates import is_counted, join, parts_of
from pipeline.enrichment.backfill import ShardHistory
from pipeline.enrichment.enrichers import derive
from pipeline.enrichment.sequences import Mark, mark, union
from pipeline.enrichment.state import AggregatePart, Backfill
from pipeline.identity.mapping import apply_mappings
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.ids import control_id, event_key
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import Emit
from pipeline.model.stages import Identified, IdentitySection, Segmented
from pipeline.rollout.versions import Version, backfillable_keys, missing_keys_by_digest
from pipeline.rules import Rules

_MAX_RESEND_DISTANCE: Final = 50_000
"""Maximum number of records of a partition between the two copies that a killed worker sends."""


class _ShardTotals(Struct):
    """Totals of one shard; `counts`: numbers of interactions by configuration digest."""

    section: IdentitySection
    clock: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    parts: dict[str, AggregatePart] = field(default_factory=dict)
    marks: dict[str, tuple[Mark, ...]] = field(default_factory=dict)


_encoder = msgspec.msgpack.Encoder()
_shard_decoder = msgspec.msgpack.Decoder(_ShardTotals)


class _RecentEvents:
    """Keys of the latest events of a partition."""

    def __init__(self) -> None:
        self._order: deque[str] = deque()
        self._keys: set[str] = set()

    def add(self, event_key: str) -> bool:
        """Add an event; return whether it is new."""
        if event_key in self._keys:
            return False
        self._order.append(event_key)
        self._keys.add(event_key)
        if len(self._order) > _MAX_RESEND_DISTANCE:
            self._keys.discard(self._order.popleft())
        return True


def _event_key(interaction: Interaction) -> str:
    return event_key(interaction.identifiers[0].key, interaction)


class BackfillReader:
    """Totals, in `rows`, of each shard for the aggregates that the newest version begins.

    `versions`: the oldest first; `rules`: the rules of the newest version. Only records still in
    the log are counted.
    """

    def __init__(self, rows: RowMap, rules: Rules, versions: Sequence[Version]) -> None:
        keys = backfillable_keys(versions)
        *earlier_versions, newest_version = versions
        self._rows = rows
        self._rules = rules
        self._aggregates = sorted(keys & rules.config.aggregates.by_key.keys())
        self._sequences = [sequence for sequence in rules.config.sequences if sequence.name in keys]
        self._run = newest_version.applied_at
        self._missing_keys = missing_keys_by_digest(versions, keys)
        self._earlier_digests = {version.config.digest for version in earlier_versions} - {
            newest_version.config.digest
        }
        self._stamps: dict[int, str] = {}
        self._recent_events: dict[int, _RecentEvents] = {}
        self._log_start_ms: int | None = None

    @property
    def has_to_fill(self) -> bool:
        """Whether the newest version begins any aggregate or sequence."""
        return bool(self._aggregates or self._sequences)

    def note_truncation(self, at: int) -> None:
        """Record that a partition's log begins only at `at` (ms): earlier records were deleted."""
        self._log_start_ms = max(at, self._log_start_ms or at)

    def add(self, partition: int, record: Segmented) -> str | None:
        """Add a record, in the order of its partition; return its shard, or None if
        that need not be filled.

        A shard must be filled where the interaction's configuration lacked new aggregates.
        """
        interaction, section = record.interaction, record.identity
        if record.control is not None and record.control.kind == "probe":
            self._stamps[partition] = record.control.config
        if (
            not self.has_to_fill
            or interaction is None
            or section is None
            or interaction.kind == "timer"
        ):
            return None
        if not self._recent_events.setdefault(partition, _RecentEvents()).add(
            _event_key(interaction)
        ):
            return None
        name = section.shard.encode()
        row = self._rows.get(name)
        shard = _ShardTotals(section) if row is None else _shard_decoder.decode(row)
        missing_keys = self._missing_keys(section.config)
        self._add_to_shard(shard, interaction, section, missing_keys)
        self._rows[name] = _encoder.encode(shard)
        return section.shard if missing_keys else None

    def is_behind(self, partition: int) -> bool:
        """Return whether interactions stamped with an earlier version may still come.

        Identity stamps each probe; the last one that passed the partition shows its version.
        """
        stamp = self._stamps.get(partition)
        return stamp is None or stamp in self._earlier_digests

    def fill_records(self, shards: Iterable[str] | None = None) -> Iterator[Emit]:
        """Yield the `fill` controls of `shards`; None: of all."""
        if shards is None:
            for name, row in self._rows.items():
                yield self._fill_record(name.decode(), row)
            return
        for shard in shards:
            shard_row = self._rows.get(shard.encode())
            assert shard_row is not None
            yield self._fill_record(shard, shard_row)

    def _fill_record(self, name: str, row: bytes) -> Emit:
        shard = _shard_decoder.decode(row)
        history = ShardHistory(
            {key: self._backfill_of(key, shard) for key in self._aggregates}, shard.marks
        )
        section = shard.section
        digest = self._rules.config.digest
        count = sum(shard.counts.values())
        control = Control(
            control_id=control_id(digest, "fill", f"{name}/{self._run}/{count}"),
            kind="fill",
            at=shard.clock,
            cause=digest,
            config=digest,
            shard=name,
            version=section.version,
            state=_encoder.encode(history),
        )
        return Emit(topics.IDENTIFIED, section.profile_id, Identified(control=control))

    def _backfill_of(self, key: str, shard: _ShardTotals) -> Backfill:
        count = sum(
            n for digest, n in shard.counts.items() if key in (self._missing_keys(digest) or ())
        )
        return Backfill(self._run, count, self._log_start_ms, shard.parts.get(key))

    def _add_to_shard(
        self,
        shard: _ShardTotals,
        interaction: Interaction,
        section: IdentitySection,
        missing_keys: frozenset[str] | None,
    ) -> None:
        if section.version >= shard.section.version:
            shard.section = section
        shard.clock = max(shard.clock, interaction.received_at)
        if missing_keys is not None:
            shard.counts[section.config] = shard.counts.get(section.config, 0) + 1
            self._aggregate(shard, interaction, missing_keys)

    def _aggregate(
        self, shard: _ShardTotals, interaction: Interaction, missing_keys: frozenset[str]
    ) -> None:
        """Add an interaction to the totals; adding it to a sequence again changes nothing."""
        config = self._rules.config
        mapped_interaction = apply_mappings(interaction, config)
        facts = Facts.of(mapped_interaction, derive(mapped_interaction, self._rules.enrichers))
        if not is_counted(facts, config):
            return
        for key, part in parts_of(facts, config):
            if key in missing_keys:
                shard.parts[key] = join(shape_of(key), shard.parts.get(key), part, shard.clock)
        for sequence in self._sequences:
            if (new_mark := mark(sequence, facts)) is not None:
                shard.marks[sequence.name] = union(shard.marks.get(sequence.name, ()), (new_mark,))
