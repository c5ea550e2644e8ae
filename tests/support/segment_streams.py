"""Segments over traits and time, and streams of interactions to evaluate them on."""

from typing import Any

from hypothesis import strategies as st

from pipeline.config import model
from pipeline.model.interaction import Identifier, Interaction

NAMES = ("View", "Cart", "Order")
END_MS = 30
"""Streams end by this millisecond."""
ORDER_WINDOW_MS = 7
"""Milliseconds in which recent orders are counted."""
WINDOWS = {"recent_orders": ("Order", ORDER_WINDOW_MS), "views": ("View", 4), "carts": ("Cart", 11)}
"""Counts over windows: event name, and length in milliseconds."""

names = st.sampled_from(NAMES).map(lambda name: {"name": name})
spans = st.sampled_from(["1ms", "3ms", "10ms"])
traits = st.sampled_from(
    ["last_view", "last_cart", "last_order", "orders", *WINDOWS, "page", "freshness", "tier"]
)
leaves = st.one_of(
    st.builds(lambda name, span: {"trait": name, "within": span}, traits, spans),
    st.builds(lambda name, span: {"trait": name, "older_than": span}, traits, spans),
    st.builds(lambda name, number: {"trait": name, "gte": number}, traits, st.integers(0, 40)),
    st.builds(lambda a, b: {"trait": a, "gte": {"trait": b}}, traits, traits),
    st.builds(lambda name: {"name": name}, st.sampled_from(NAMES)),
    st.builds(lambda page: {"property": "page", "is": page}, st.integers(0, 2)),
    st.builds(
        lambda trait, upper: {"trait": trait, "gte": {"property": "page"}, "lt": upper},
        traits,
        st.integers(0, 40),
    ),
    st.builds(
        lambda steps, window, rest: {
            "sequence": [{"name": name} for name in steps],
            "within": window,
            **rest,
        },
        st.lists(st.sampled_from(NAMES), min_size=2, max_size=3),
        spans,
        st.fixed_dictionaries({}, optional={"without": names, "for": spans}),
    ),
    st.fixed_dictionaries({"absence": names, "after": names, "for": spans}),
)
conditions = st.recursive(
    leaves,
    lambda parts: st.one_of(
        st.lists(parts, min_size=1, max_size=3).map(lambda nodes: {"all": nodes}),
        st.lists(parts, min_size=1, max_size=3).map(lambda nodes: {"any": nodes}),
        parts.map(lambda part: {"not": part}),
    ),
    max_leaves=5,
)


@st.composite
def segments(draw: st.DrawFn) -> tuple[model.Segment, ...]:
    """Draw up to five segments; each may read those before it."""
    drawn_segments: list[model.Segment] = []
    for number in range(draw(st.integers(1, 5))):
        condition: dict[str, Any] = draw(conditions)
        if drawn_segments and draw(st.booleans()):
            other = {
                "segment": draw(st.sampled_from([segment.segment for segment in drawn_segments]))
            }
            condition = {draw(st.sampled_from(["all", "any"])): [condition, other]}
        drawn_segments.append(model.Segment(f"s{number}", condition))
    return tuple(drawn_segments)


@st.composite
def streams(draw: st.DrawFn) -> list[Interaction]:
    times = sorted(draw(st.lists(st.integers(1, END_MS), min_size=1, max_size=10)))
    return [
        Interaction(
            f"e{number}",
            "track",
            draw(st.sampled_from(NAMES)),
            "web",
            "log",
            at,
            at,
            (Identifier("cookie", draw(st.sampled_from("kl"))),),
            {"page": draw(st.integers(0, 2))},
        )
        for number, at in enumerate(times)
    ]


def configuration(segments: tuple[model.Segment, ...]) -> model.Bundle:
    def latest_time(name: str) -> model.TraitDefinition:
        return model.TraitDefinition(
            f"last_{name.lower()}", "max", of="occurred_at", when={"name": name}
        )

    return model.Bundle(
        sources=model.Sources((model.Source("log", "web", "write-key-1", clock="log"),)),
        identity=model.Identity((model.Namespace("customer_id"), model.Namespace("cookie"))),
        channels=model.Channels((model.Channel("web", placements=("hero",)),)),
        profile=model.ProfileRules(
            (
                *map(latest_time, NAMES),
                model.TraitDefinition("orders", "count", when={"name": "Order"}),
                *(
                    model.TraitDefinition(trait, "count", when={"name": name}, window=f"{window}ms")
                    for trait, (name, window) in WINDOWS.items()
                ),
                model.TraitDefinition("page", "latest", of="properties.page"),
                model.TraitDefinition(
                    "freshness", "bucket", of="trait.last_view", thresholds=("8ms", "3ms")
                ),
                model.TraitDefinition(
                    "tier", "bucket", of="trait.recent_orders", thresholds=(1, 2)
                ),
            )
        ),
        segments=segments,
    )
