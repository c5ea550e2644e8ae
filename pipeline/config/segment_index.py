"""Index of segments by the changes that affect them, so that only affected ones are evaluated.

Sets of segments are bit masks over their positions in dependency order: a segment reads only
segments at lower positions.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from pipeline.conditions.reads import spans
from pipeline.config.compiled import CompiledSegment
from pipeline.model.interaction import FactValue, Interaction

_FOREVER_MS: Final = 1 << 53


@dataclass(frozen=True, slots=True)
class SegmentIndex:
    """Index of segments; `positions`: by the segment's name.

    `interaction_segments`: segments that read the interaction; of these, `segments_by_name`: those
    that can hold for an interaction of this name, and `any_name_segments`: those that can hold for
    any. `segments_by_trait`: those that read the trait. `dependents`: by position of a segment,
    those that read it. `spans`: for each trait that is compared with the clock, the ages (ms,
    ascending) at which a comparison flips. `channel_segments`: segments with a list of channels;
    `segments_by_channel`: those that a channel evaluates.
    """

    positions: Mapping[str, int]
    all_segments: int
    interaction_segments: int
    any_name_segments: int
    segments_by_name: Mapping[str, int]
    segments_by_trait: Mapping[str, int]
    dependents: Sequence[int]
    spans: Mapping[str, Sequence[int]]
    channel_segments: int
    segments_by_channel: Mapping[str, int]

    def segments_evaluated_by(self, interaction: Interaction) -> int:
        """Return the segments that interactions of the interaction's channel evaluate."""
        return self.all_segments & ~self.channel_segments | self.segments_by_channel.get(
            interaction.channel, 0
        )

    def segments_affected_by(self, interaction: Interaction, members: Iterable[str]) -> int:
        """Return the segments that depend on the interaction itself, or on its channel."""
        mask = self.any_name_segments | self.segments_by_name.get(interaction.name, 0)
        if self.interaction_segments:
            for name in members:
                mask |= 1 << self.positions[name] & self.interaction_segments
        return mask | self.segments_by_channel.get(interaction.channel, 0)

    def readers_of(self, traits: Iterable[str]) -> int:
        """Return the segments that read one of `traits`."""
        mask = 0
        for name in traits:
            mask |= self.segments_by_trait.get(name, 0)
        return mask

    def next_flip(self, traits: Mapping[str, FactValue], now_ms: int) -> int | None:
        """Return the next time after `now_ms` at which a comparison with the clock may flip."""
        flips = (_next_flip(spans, traits.get(name), now_ms) for name, spans in self.spans.items())
        return min((flip for flip in flips if flip is not None), default=None)

    def segments_flipping_at(self, traits: Mapping[str, FactValue], flip_ms: int) -> int:
        """Return the segments with a comparison that may flip at `flip_ms`."""
        return self.readers_of(
            name
            for name, spans in self.spans.items()
            if _next_flip(spans, traits.get(name), flip_ms - 1) == flip_ms
        )


def index_segments(segments: Sequence[CompiledSegment]) -> SegmentIndex:
    """Index segments, which are in dependency order."""
    segments_by_name: defaultdict[str, int] = defaultdict(int)
    segments_by_trait: defaultdict[str, int] = defaultdict(int)
    segments_by_channel: defaultdict[str, int] = defaultdict(int)
    spans_by_trait: defaultdict[str, set[int]] = defaultdict(set)
    dependents = [0] * len(segments)
    positions = {segment.name: position for position, segment in enumerate(segments)}
    interaction_segments = any_name_segments = channel_segments = 0
    for position, segment in enumerate(segments):
        bit = 1 << position
        reads = segment.condition.reads
        for trait in reads.traits:
            segments_by_trait[trait] |= bit
        for segment_name in reads.segments:
            dependents[positions[segment_name]] |= bit
        for trait, span in spans(segment.condition.tree):
            spans_by_trait[trait].add(span)
        for channel in segment.channels:
            channel_segments |= bit
            segments_by_channel[channel] |= bit
        if reads.uses_interaction:
            interaction_segments |= bit
            if segment.condition.names is None:
                any_name_segments |= bit
            for name in segment.condition.names or ():
                segments_by_name[name] |= bit
    return SegmentIndex(
        positions=positions,
        all_segments=(1 << len(segments)) - 1,
        interaction_segments=interaction_segments,
        any_name_segments=any_name_segments,
        segments_by_name=dict(segments_by_name),
        segments_by_trait=dict(segments_by_trait),
        dependents=dependents,
        spans={trait: sorted(ages) for trait, ages in spans_by_trait.items()},
        channel_segments=channel_segments,
        segments_by_channel=dict(segments_by_channel),
    )


def _next_flip(spans: Sequence[int], value: FactValue, now_ms: int) -> int | None:
    """Return the first time after `now_ms` that is `value` or one of `spans` after it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not -_FOREVER_MS < value < _FOREVER_MS:
        return None
    if value > now_ms:
        return ceil(value)
    index = bisect_right(spans, now_ms - value)
    return ceil(value + spans[index]) if index < len(spans) else None
