"""A bucket is the rank of a trait among its thresholds, now and as time goes on."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import model
from pipeline.config.buckets import bucket
from pipeline.enrichment.buckets import bucket_of, next_threshold_time
from pipeline.model.interaction import FactValue

_numbers = st.one_of(st.integers(-20, 20), st.floats(-20, 20))
_values = st.one_of(_numbers, st.sampled_from([None, True, "5", ("a",)]))


@given(st.lists(_numbers, min_size=1, max_size=5, unique=True), st.booleans(), _values)
def test_bucket_of_a_number_is_its_rank_among_the_thresholds(
    numbers: list[float], is_descending: bool, value: FactValue
) -> None:
    thresholds = sorted(numbers, reverse=is_descending)
    compiled_bucket = bucket(
        model.TraitDefinition("b", "bucket", "trait.x", thresholds=tuple(thresholds)), False
    )
    number = bucket_of(compiled_bucket, {"x": value}, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        assert number is None
    elif is_descending and len(numbers) > 1:
        assert number == 1 + sum(value < threshold for threshold in numbers)
    else:
        assert number == 1 + sum(value >= threshold for threshold in numbers)
    assert next_threshold_time(compiled_bucket, {"x": value}, 0) is None


@given(
    st.lists(st.integers(1, 30), min_size=2, max_size=5, unique=True),
    st.booleans(),
    st.integers(-40, 10),
)
def test_ages_change_only_at_the_named_moments(
    ages: list[int], is_descending: bool, time_ms: int
) -> None:
    thresholds = tuple(f"{age}ms" for age in sorted(ages, reverse=is_descending))
    compiled_bucket = bucket(
        model.TraitDefinition("b", "bucket", "trait.x", thresholds=thresholds), False
    )
    traits: dict[str, FactValue] = {"x": time_ms}
    due_at = next_threshold_time(compiled_bucket, traits, 0)
    for now_ms in range(60):
        rank = sum(now_ms - time_ms >= age for age in ages)
        assert bucket_of(compiled_bucket, traits, now_ms) == 1 + (
            len(ages) - rank if is_descending else rank
        )
        has_changed = bucket_of(compiled_bucket, traits, now_ms) != bucket_of(
            compiled_bucket, traits, now_ms - 1
        )
        assert has_changed is (now_ms == due_at) or now_ms == 0
        if now_ms == due_at:
            due_at = next_threshold_time(compiled_bucket, traits, now_ms)
