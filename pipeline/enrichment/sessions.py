"""Sessions: runs of interactions without a longer pause than the gap."""

from collections.abc import Iterable
from itertools import chain

from pipeline.enrichment.state import Span
from pipeline.model.time import GRACE_MS

USUAL_SPANS = 64
MOST_SPANS = 512
"""Maximum of spans kept of a shard's sessions: the latest 64, and up to 512 that a late interaction
may still change; older ones are only counted, so that a busy shard stays small."""


def union(spans: Iterable[Span], gap_ms: int) -> tuple[Span, ...]:
    """Return sorted spans; those at most `gap_ms` apart are joined."""
    joined: list[Span] = []
    for span in sorted(spans):
        if joined and span.first - joined[-1].last <= gap_ms:
            joined[-1] = Span(joined[-1].first, max(joined[-1].last, span.last))
        else:
            joined.append(span)
    return tuple(joined)


def add(spans: tuple[Span, ...], at: int, gap_ms: int) -> tuple[Span, ...]:
    """Return the spans with an interaction at `at`; in-order arrival changes only the last span."""
    if not spans or at - spans[-1].last > gap_ms:
        return (*spans, Span(at, at))
    if at >= spans[-1].first:
        last = spans[-1]
        return (*spans[:-1], Span(last.first, max(last.last, at)))
    return union(chain(spans, (Span(at, at),)), gap_ms)


def prune_spans(spans: tuple[Span, ...], now_ms: int) -> tuple[tuple[Span, ...], int]:
    """Return the spans to keep, and the number of dropped ones, which can no longer change."""
    if len(spans) <= USUAL_SPANS:
        return spans, 0
    recent = sum(span.last > now_ms - GRACE_MS for span in spans)
    keep = spans[-min(max(recent, USUAL_SPANS), MOST_SPANS) :]
    return keep, len(spans) - len(keep)
