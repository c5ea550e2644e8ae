"""What time alone does to a profile: what leaves a window changes the traits that segments read.

It is found before each record, up to its time, and by a `timer` when none comes. Either way the
later stages hear of it by a `timer` with the traits as they were at the moment when it fell due.
"""

from msgspec.structs import replace

from pipeline.enrichment import view
from pipeline.enrichment.scores import scores
from pipeline.enrichment.state import ProfileState, Shard
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.ids import control_id
from pipeline.model.interaction import Known
from pipeline.model.outcome import Emit, Ok, Wake
from pipeline.model.stages import Enriched
from pipeline.rules import Rules


def known(shards: tuple[Shard, ...], now_ms: int, rules: Rules) -> dict[str, Known]:
    """All traits of a profile at a moment, scores included. There is at least one shard."""
    traits = view.traits(shards, now_ms, rules.config)
    if rules.scorers:
        traits.update(scores(rules.config.scores, traits, now_ms, rules.scorers))
    return traits


def catch_up(
    key: str, row: ProfileState, until_ms: int, rules: Rules
) -> tuple[ProfileState, tuple[Emit, ...]]:
    """What time alone did to the row up to `until_ms` (inclusive), moment by moment."""
    emits: list[Emit] = []
    shards = view.shards_of(row)
    while row.due_at is not None and row.due_at <= until_ms:
        at = row.due_at
        section = view.section(known(shards, at, rules), rules.config)
        timer = Control(
            control_id=control_id(key, "timer", str(at)),
            kind="timer",
            at=at if view.by_log(row) else until_ms,
            cause=key,
            config=rules.config.digest,
            due_at=at,
        )
        emits.append(Emit(topics.ENRICHED, key, Enriched(control=timer, profile=section)))
        row = replace(row, due_at=view.due(shards, at, rules.config))
    return row, tuple(emits)


def kept(row: ProfileState, emits: tuple[Emit, ...], now_ms: int, rules: Rules) -> Ok[ProfileState]:
    """The row as of `now_ms`, to be woken when time alone next changes it."""
    shards = view.shards_of(row)
    due_at = view.due(shards, view.moment(shards, now_ms), rules.config)
    if due_at != row.due_at:
        row = replace(row, due_at=due_at)
    return Ok(row, emits, None if due_at is None else Wake(due_at, view.by_log(row)))
