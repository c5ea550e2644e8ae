"""Sessions: runs of interactions in which no two neighbours are further apart than the gap."""

from collections.abc import Iterable
from itertools import chain

from pipeline.enrichment.state import Span
from pipeline.model.time import GRACE_MS

MAX_SPANS = 64
"""Older sessions of a shard are only counted, so that a busy shard stays small."""


def union(spans: Iterable[Span], gap_ms: int) -> tuple[Span, ...]:
    """Sorted spans with those joined that are at most `gap_ms` apart."""
    joined: list[Span] = []
    for span in sorted(spans):
        if joined and span.first - joined[-1].last <= gap_ms:
            joined[-1] = Span(joined[-1].first, max(joined[-1].last, span.last))
        else:
            joined.append(span)
    return tuple(joined)


def add(spans: tuple[Span, ...], at: int, gap_ms: int) -> tuple[Span, ...]:
    """The spans with an interaction at `at`; in-order arrival touches the last one only."""
    if not spans or at - spans[-1].last > gap_ms:
        return (*spans, Span(at, at))
    if at >= spans[-1].first:
        last = spans[-1]
        return (*spans[:-1], Span(last.first, max(last.last, at)))
    return union(chain(spans, (Span(at, at),)), gap_ms)


def settle(spans: tuple[Span, ...], now_ms: int) -> tuple[tuple[Span, ...], int]:
    """The spans that a late interaction may still change, and how many have ended for good."""
    keep = [span for span in spans if span.last > now_ms - GRACE_MS][-MAX_SPANS:]
    return tuple(keep), len(spans) - len(keep)
