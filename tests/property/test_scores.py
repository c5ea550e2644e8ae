"""Scores use the traits of their moment, reach the decision as traits, and are read by rules."""

from collections.abc import Iterable, Mapping
from math import isnan

from hypothesis import given
from msgspec.structs import replace

from pipeline.config import model
from pipeline.flow import Flow
from pipeline.model.interaction import FactValue, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.profile import Profile
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS
from pipeline.rules import Rules
from pipeline.rules.scorer import Scorer
from tests.support.segment_streams import END_MS, configuration, streams
from tests.support.worlds import rules


def _rules(scorers: Mapping[str, Scorer]) -> Rules:
    bundle = configuration((model.Segment("likely", {"trait": "score.buys", "gte": 3}),))
    score = model.Score(
        "buys", ("orders", model.DaysSince("last_view"), "page", "recent_orders"), "buys.txt"
    )
    profile = replace(bundle.profile, scores=(score,))
    return rules(replace(bundle, profile=profile), scorers=scorers)


def _sum(row: object) -> float:
    """Return the score of a model that adds its inputs, with the days as milliseconds."""
    assert isinstance(row, list)
    orders, days, page, recent_orders = (0.0 if isnan(value) else value for value in row)
    return orders + round(days * DAY_MS) + page + recent_orders


@given(streams())
def test_score_uses_the_traits_of_its_moment(stream: list[Interaction]) -> None:
    # Time alone changes a trait that the score reads, too.
    flow = Flow(_rules({"score.buys": _sum}))
    emits = [emit for record in stream for emit in flow.run(record)]
    emits += flow.advance(END_MS + 30)
    assert not flow.dead_letters
    for emit in emits:
        if isinstance(emit.value, Profile):
            traits, now_ms = emit.value.traits, emit.value.updated_at
            age_ms = now_ms - int(str(traits.get("last_view", now_ms)))
            numbers = [traits.get(name, 0) for name in ("orders", "page", "recent_orders")]
            assert traits["score.buys"] == sum(map(float, numbers)) + age_ms  # type: ignore[arg-type]
    for emit in emits:
        if isinstance(emit.value, Segmented) and emit.value.interaction is not None:
            assert emit.value.profile is not None
            assert emit.value.segments is not None
            score = emit.value.profile.traits["score.buys"]
            if emit.value.interaction.kind == "track":
                assert ("likely" in emit.value.segments.members) is (score >= 3)  # type: ignore[operator]


@given(streams())
def test_missing_model_leaves_out_its_score_only(stream: list[Interaction]) -> None:
    flow, complete_flow = Flow(_rules({})), Flow(_rules({"score.buys": _sum}))
    emits = [emit for record in stream for emit in flow.run(record)]
    complete_emits = [emit for record in stream for emit in complete_flow.run(record)]
    assert not flow.dead_letters
    traits = _latest_traits(emits)
    complete_traits = _latest_traits(complete_emits)
    assert complete_traits
    assert all("score.buys" in values for values in complete_traits.values())
    assert traits == {
        key: {name: value for name, value in values.items() if name != "score.buys"}
        for key, values in complete_traits.items()
    }
    for emit in emits:
        if isinstance(emit.value, Profile):
            assert "score.buys" not in emit.value.traits
        if isinstance(emit.value, Segmented) and emit.value.segments is not None:
            assert not emit.value.segments.members


def _latest_traits(emits: Iterable[Emit]) -> dict[str, Mapping[str, FactValue]]:
    """Return the traits of each profile's latest record, by key."""
    return {emit.key: emit.value.traits for emit in emits if isinstance(emit.value, Profile)}
