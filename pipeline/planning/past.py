"""What shards did before a configuration's new keeps, added up from `interactions.segmented`.

That topic knows of each interaction which shard it belongs to and which configuration it ran by,
and is kept longer than `interactions`.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

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
from pipeline.model.ids import control_id
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import Emit
from pipeline.model.stages import Identified, IdentitySection, Segmented
from pipeline.rules import Rules

_RESENT_WITHIN: Final = 50_000
"""What a killed worker sends again comes after fewer records of its partition than this."""

_bytes = msgspec.msgpack.Encoder()


@dataclass(slots=True)
class _Shard:
    """`by`: how many interactions ran by each configuration (digest)."""

    place: IdentitySection
    clock: int = 0
    by: Counter[str] = field(default_factory=Counter)
    kept: dict[str, Kept] = field(default_factory=dict)
    marks: dict[str, tuple[Mark, ...]] = field(default_factory=dict)


class _Recent:
    """The last event ids of a partition."""

    def __init__(self) -> None:
        self._order: deque[str] = deque()
        self._ids: set[str] = set()

    def is_new(self, event_id: str) -> bool:
        if event_id in self._ids:
            return False
        self._order.append(event_id)
        self._ids.add(event_id)
        if len(self._order) > _RESENT_WITHIN:
            self._ids.discard(self._order.popleft())
        return True


class Reader:
    """Adds up what of the keeps and sequences `keys`, begun at `run` (ms), is missing in each
    shard.

    `lacks` says which of them the configuration with a digest has not; None: nobody knows it.
    """

    def __init__(
        self,
        rules: Rules,
        keys: frozenset[str],
        run: int,
        lacks: Callable[[str], frozenset[str] | None],
    ) -> None:
        self._rules = rules
        self._keeps = sorted(keys & rules.config.keeps.by_key.keys())
        self._sequences = [one for one in rules.config.sequences if one.name in keys]
        self._run = run
        self._lacks = lacks
        self._shards: dict[str, _Shard] = {}
        self._recent: dict[int, _Recent] = {}
        self._since: int | None = None

    def begins_late(self, at: int) -> None:
        """A partition's first record, received at `at` (ms), is not the first it ever had."""
        self._since = max(at, self._since or at)

    def take(self, partition: int, record: Segmented) -> str | None:
        """In the order of the partition; the shard that something is missing in because of it."""
        one, place = record.interaction, record.identity
        if one is None or place is None or one.kind == "timer":
            return None
        if not self._recent.setdefault(partition, _Recent()).is_new(one.event_id):
            return None
        shard = self._shards.setdefault(place.shard, _Shard(place))
        if place.version >= shard.place.version:
            shard.place = place
        lacking = self._lacks(place.config)
        shard.clock = max(shard.clock, one.received_at)
        if lacking is not None:
            shard.by[place.config] += 1
            self._add(shard, one, lacking)
        return place.shard if lacking else None

    def fills(self, shards: Iterable[str] | None = None) -> Iterator[Emit]:
        """What those, or all shards, are told."""
        for name in self._shards if shards is None else shards:
            shard = self._shards[name]
            past = Past({key: self._begun(key, shard) for key in self._keeps}, shard.marks)
            place = shard.place
            digest = self._rules.config.digest
            control = Control(
                control_id=control_id(digest, "fill", f"{name}/{self._run}/{shard.by.total()}"),
                kind="fill",
                at=shard.clock,
                cause=digest,
                config=digest,
                shard=name,
                version=place.version,
                state=_bytes.encode(past),
            )
            yield Emit(topics.IDENTIFIED, place.profile_id, Identified(control=control))

    def _begun(self, key: str, shard: _Shard) -> Begun:
        covered = sum(n for digest, n in shard.by.items() if key in (self._lacks(digest) or ()))
        return Begun(self._run, covered, self._since, shard.kept.get(key))

    def _add(self, shard: _Shard, came: Interaction, lacking: frozenset[str]) -> None:
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
