"""Sessions: runs of interactions without a longer pause than the gap."""

from collections.abc import Iterable
from itertools import chain

from pipeline.enrichment.state import Span
from pipeline.model.time import GRACE_MS

USUAL_SPAN_COUNT = 64
MAX_SPANS = 512
"""Maximum of stored spans of a shard: the latest 64, and earlier ones, up to 512 in all, while a
late interaction may still change them; older sessions are only counted, so that a busy shard stays
small."""


def union(spans: Iterable[Span], gap_ms: int) -> tuple[Span, ...]:
    """Return the spans sorted, with those at most `gap_ms` apart joined."""
    runs: list[Span] = []
    for span in sorted(spans):
        if runs and span.first - runs[-1].last <= gap_ms:
            runs[-1] = Span(runs[-1].first, max(runs[-1].last, span.last))
        else:
            runs.append(span)
    return tuple(runs)


def add(spans: tuple[Span, ...], at: int, gap_ms: int) -> tuple[Span, ...]:
    """Return the spans with an interaction at `at`; in-order arrival changes only the last span."""
    if not spans or at - spans[-1].last > gap_ms:
        return (*spans, Span(at, at))
    if at >= spans[-1].first:
        last_span = spans[-1]
        return (*spans[:-1], Span(last_span.first, max(last_span.last, at)))
    return union(chain(spans, (Span(at, at),)), gap_ms)


def prune_spans(spans: tuple[Span, ...], now_ms: int) -> tuple[tuple[Span, ...], int]:
    """Return the spans to store, and the number of dropped ones, which can no longer change."""
    if len(spans) <= USUAL_SPAN_COUNT:
        return spans, 0
    recent_count = sum(span.last > now_ms - GRACE_MS for span in spans)
    latest_spans = spans[-min(max(recent_count, USUAL_SPAN_COUNT), MAX_SPANS) :]
    return latest_spans, len(spans) - len(latest_spans)
