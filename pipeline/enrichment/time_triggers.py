"""Time triggers: the moments at which time alone changes a profile or its segments.

Enrichment alone processes them, for itself and for segmentation, so that they stay in order even
after long downtime: it processes the moments up to the time of a record before the record, and the
remaining ones when a `timer` fires.
Segmentation receives a `timer` control for each, with the traits of that moment.
"""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from pipeline.enrichment import view
from pipeline.enrichment.named_identifiers import NO_IDENTIFIERS
from pipeline.enrichment.scores import scores
from pipeline.enrichment.state import ProfileState, Shard
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.ids import control_id
from pipeline.model.interaction import FactValue
from pipeline.model.outcome import Emit, Ok, RowTransition, Wake
from pipeline.model.stages import Enriched
from pipeline.rules import Rules


class ProfileMoment(Struct, frozen=True):
    """Profile at `at` (ms): its shards, and all traits, scores included; there are none
    without shards."""

    at: int
    shards: tuple[Shard, ...]
    traits: dict[str, FactValue]


def profile_at(
    row: ProfileState, now_ms: int, rules: Rules, shown_at: Mapping[str, int] = NO_IDENTIFIERS
) -> ProfileMoment:
    """Return the profile at `now_ms`, or at its present time if that is later.

    `shown_at`: identifiers that interactions showed, each with the time (ms).
    """
    shards = view.shards_of(row, shown_at)
    return _evaluate_at(shards, view.moment(row, shards, now_ms), rules)


def catch_up(
    key: str, row: ProfileState, until_ms: int, rules: Rules
) -> RowTransition[ProfileState]:
    """Apply the changes by time alone up to `until_ms` (inclusive), moment by moment.

    Identifiers shown by interactions up to a moment count as the customer's.
    """
    emits: list[Emit] = []
    while row.due_at is not None and row.due_at <= until_ms:
        shown_at = {name: at for name, at in row.shown.items() if at <= row.due_at}
        moment = _evaluate_at(view.shards_of(row, shown_at), row.due_at, rules)
        timer = Control(
            control_id=control_id(key, "timer", str(moment.at)),
            kind="timer",
            at=moment.at if view.is_on_log_clock(row) else until_ms,
            cause=key,
            config=rules.config.digest,
            due_at=moment.at,
        )
        section = view.section(moment.traits, rules.config)
        if shown_at:
            section = replace(section, shown=shown_at)
        emits.append(Emit(topics.ENRICHED, key, Enriched(control=timer, profile=section)))
        row = _advance_to(row, moment, rules)
    return RowTransition(row, tuple(emits))


def outcome_with_wake(
    row: ProfileState, emits: tuple[Emit, ...], moment: ProfileMoment, rules: Rules
) -> Ok[ProfileState]:
    """Return the outcome, with a timer for the next moment at which time alone changes the row."""
    row = _advance_to(row, moment, rules)
    wake = None if row.due_at is None else Wake(row.due_at, view.is_on_log_clock(row))
    return Ok(row, emits, wake)


def _evaluate_at(shards: tuple[Shard, ...], at: int, rules: Rules) -> ProfileMoment:
    if not shards:
        return ProfileMoment(at, shards, {})
    traits = view.traits(shards, at, rules.config)
    if rules.scorers:
        traits.update(scores(rules.config.scores, traits, at, rules.scorers))
    return ProfileMoment(at, shards, traits)


def _advance_to(row: ProfileState, moment: ProfileMoment, rules: Rules) -> ProfileState:
    due_at = view.next_due(moment.shards, moment.traits, moment.at, rules.config)
    return replace(row, at=moment.at, due_at=due_at)
