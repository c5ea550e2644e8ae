"""Only segments that an interaction can touch are evaluated, however many there are."""

from collections import Counter
from dataclasses import replace

from pipeline.conditions import Facts
from pipeline.config import model
from pipeline.config.compiled import CompiledSegment
from pipeline.flow import Flow
from pipeline.model.interaction import Identifier, Interaction
from tests.support.worlds import rules

_NAMES = tuple(f"Event {number}" for number in range(50))


def _bundle(segment_count: int) -> model.Bundle:
    """Return a bundle in which each segment reads the count of one of 50 events."""
    counts = (
        model.TraitDefinition(f"count_{number}", "count", when={"name": name})
        for number, name in enumerate(_NAMES)
    )
    return model.Bundle(
        sources=model.Sources((model.Source("shop", "web", "write-key-1"),)),
        identity=model.Identity((model.Namespace("cookie"),)),
        channels=model.Channels((model.Channel("web"),)),
        profile=model.ProfileRules(tuple(counts)),
        segments=tuple(
            model.Segment(f"s{n:03}", {"trait": f"count_{n % len(_NAMES)}", "gte": 1 + n // 50})
            for n in range(segment_count)
        ),
    )


def _count_evaluations(segment_count: int, name: str) -> Counter[str]:
    """Count the evaluations of each segment when a known profile does `name`."""
    evaluations: Counter[str] = Counter()

    def count_calls(segment: CompiledSegment) -> CompiledSegment:
        def test(facts: Facts) -> bool:
            evaluations[segment.name] += 1
            return segment.test(facts)

        return replace(segment, test=test)

    world = rules(_bundle(segment_count))
    config = replace(world.config, segments=tuple(map(count_calls, world.config.segments)))
    flow = Flow(replace(world, config=config))
    for number, event_name in enumerate((*_NAMES, name)):
        evaluations.clear()
        time_ms = 1_000 * (number + 1)
        identifiers = (Identifier("cookie", "k"),)
        list(
            flow.run(
                Interaction(
                    f"e{number}", "track", event_name, "web", "shop", time_ms, time_ms, identifiers
                )
            )
        )
    return evaluations


def test_only_segments_that_read_a_change_are_evaluated_and_once() -> None:
    for segment_count in (50, 500):
        expected = {f"s{n:03}": 1 for n in range(7, segment_count, 50)}
        assert _count_evaluations(segment_count, "Event 7") == expected


def test_no_segment_is_evaluated_without_a_changed_input() -> None:
    assert not _count_evaluations(500, "Something else")
