"""Buckets: the thresholds between which a trait lies at a moment."""

from bisect import bisect_right
from collections.abc import Mapping
from math import ceil

from pipeline.config.compiled import Bucket
from pipeline.config.readers import is_number
from pipeline.model.interaction import FactValue


def bucket_of(bucket: Bucket, traits: Mapping[str, FactValue], now_ms: int) -> int | None:
    """Return the number of the bucket, from 1; None: the trait is missing or no number."""
    value = traits.get(bucket.source_trait)
    if not is_number(value):
        return None
    index = bisect_right(bucket.thresholds, now_ms - value if bucket.uses_age else value)
    return 1 + (len(bucket.thresholds) - index if bucket.is_descending else index)


def next_threshold_time(bucket: Bucket, traits: Mapping[str, FactValue], now_ms: int) -> int | None:
    """Return the next time after `now_ms` at which time alone moves the trait over a threshold;
    None: it never does."""
    value = traits.get(bucket.source_trait)
    if not bucket.uses_age or not is_number(value):
        return None
    index = bisect_right(bucket.thresholds, now_ms - value)
    return ceil(value + bucket.thresholds[index]) if index < len(bucket.thresholds) else None
