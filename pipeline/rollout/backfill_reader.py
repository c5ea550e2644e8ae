"""What shards did before a configuration's new keeps, added up from `interactions.segmented`.

That topic knows of each interaction which shard it belongs to and which configuration it ran by,
and is kept longer than `interactions`. There are as many shards as customers: they are added up in
rows, which may be on disk.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct, field

from pipeline.adapters.rocks import Rows
from pipeline.conditions import Facts
from pipeline.config.keeps import shape_of
from pipeline.enrichment.beginning import Past
from pipeline.enrichment.enrichers import derive
from pipeline.enrichment.keeping import is_counted, join, parts_of
from pipeline.enrichment.sequences import Mark, mark, union
from pipeline.enrichment.state import Begun, Kept
from pipeline.identity.mapping import mapped
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.ids import control_id, event_key
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import Emit
from pipeline.model.stages import Identified, IdentitySection, Segmented
from pipeline.rollout.versions import Version, fillable, lacking
from pipeline.rules import Rules

_RESENT_WITHIN: Final = 50_000
"""What a killed worker sends again comes after fewer records of its partition than this."""


class _Shard(Struct):
    """`by`: how many interactions ran by each configuration (digest)."""

    place: IdentitySection
    clock: int = 0
    by: dict[str, int] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    marks: dict[str, tuple[Mark, ...]] = field(default_factory=dict)


_bytes = msgspec.msgpack.Encoder()
_shard_from = msgspec.msgpack.Decoder(_Shard)


class _Recent:
    """The last events of a partition."""

    def __init__(self) -> None:
        self._order: deque[str] = deque()
        self._ids: set[str] = set()

    def is_new(self, event: str) -> bool:
        if event in self._ids:
            return False
        self._order.append(event)
        self._ids.add(event)
        if len(self._order) > _RESENT_WITHIN:
            self._ids.discard(self._order.popleft())
        return True


def _event(one: Interaction) -> str:
    return event_key(one.identifiers[0].key, one)


class Reader:
    """Adds up in `rows` what is missing in each shard of what the newest of `versions` (oldest
    first) begins to keep, as far as the log can tell it. `rules` are those of the newest."""

    def __init__(self, rows: Rows, rules: Rules, versions: Sequence[Version]) -> None:
        keys = fillable(versions)
        *before, newest = versions
        self._rows = rows
        self._rules = rules
        self._keeps = sorted(keys & rules.config.keeps.by_key.keys())
        self._sequences = [one for one in rules.config.sequences if one.name in keys]
        self._run = newest.applied_at
        self._lacks = lacking(versions, keys)
        self._earlier = {one.config.digest for one in before} - {newest.config.digest}
        self._stamps: dict[int, str] = {}
        self._recent: dict[int, _Recent] = {}
        self._since: int | None = None

    @property
    def has_to_fill(self) -> bool:
        """Whether there is anything to add up."""
        return bool(self._keeps or self._sequences)

    def begins_late(self, at: int) -> None:
        """A partition's first record, received at `at` (ms), is not the first it ever had."""
        self._since = max(at, self._since or at)

    def take(self, partition: int, record: Segmented) -> str | None:
        """In the order of the partition; the shard that something is missing in because of it."""
        one, place = record.interaction, record.identity
        if record.control is not None and record.control.kind == "probe":
            self._stamps[partition] = record.control.config
        if not self.has_to_fill or one is None or place is None or one.kind == "timer":
            return None
        if not self._recent.setdefault(partition, _Recent()).is_new(_event(one)):
            return None
        name = place.shard.encode()
        row = self._rows.get(name)
        shard = _Shard(place) if row is None else _shard_from.decode(row)
        lacking = self._lacks(place.config)
        self._add(shard, one, place, lacking)
        self._rows[name] = _bytes.encode(shard)
        return place.shard if lacking else None

    def is_behind(self, partition: int) -> bool:
        """Whether interactions of the partition may yet come that ran by an earlier version: by
        the last probe that came through it, identity stamps one."""
        stamp = self._stamps.get(partition)
        return stamp is None or stamp in self._earlier

    def fills(self, shards: Iterable[str] | None = None) -> Iterator[Emit]:
        """What those, or all shards, are told."""
        if shards is None:
            for name, row in self._rows.items():
                yield self._fill(name.decode(), row)
            return
        for shard in shards:
            known = self._rows.get(shard.encode())
            assert known is not None
            yield self._fill(shard, known)

    def _fill(self, name: str, row: bytes) -> Emit:
        shard = _shard_from.decode(row)
        past = Past({key: self._begun(key, shard) for key in self._keeps}, shard.marks)
        place = shard.place
        digest = self._rules.config.digest
        count = sum(shard.by.values())
        control = Control(
            control_id=control_id(digest, "fill", f"{name}/{self._run}/{count}"),
            kind="fill",
            at=shard.clock,
            cause=digest,
            config=digest,
            shard=name,
            version=place.version,
            state=_bytes.encode(past),
        )
        return Emit(topics.IDENTIFIED, place.profile_id, Identified(control=control))

    def _begun(self, key: str, shard: _Shard) -> Begun:
        covered = sum(n for digest, n in shard.by.items() if key in (self._lacks(digest) or ()))
        return Begun(self._run, covered, self._since, shard.kept.get(key))

    def _add(
        self,
        shard: _Shard,
        came: Interaction,
        place: IdentitySection,
        lacking: frozenset[str] | None,
    ) -> None:
        if place.version >= shard.place.version:
            shard.place = place
        shard.clock = max(shard.clock, came.received_at)
        if lacking is not None:
            shard.by[place.config] = shard.by.get(place.config, 0) + 1
            self._keep(shard, came, lacking)

    def _keep(self, shard: _Shard, came: Interaction, lacking: frozenset[str]) -> None:
        """Sequences know their interactions, so that one more time changes nothing."""
        config = self._rules.config
        one = mapped(came, config)
        facts = Facts.of(one, derive(one, self._rules.enrichers))
        if not is_counted(facts, config):
            return
        for key, part in parts_of(facts, config):
            if key in lacking:
                shard.kept[key] = join(shape_of(key), shard.kept.get(key), part, shard.clock)
        for sequence in self._sequences:
            if (new := mark(sequence, facts)) is not None:
                shard.marks[sequence.name] = union(shard.marks.get(sequence.name, ()), (new,))
