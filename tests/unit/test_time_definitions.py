"""Definitions in `pipeline/README.md` of time, windows, sequences and sets."""

from typing import Any, Final

import pytest

from pipeline.config import model
from pipeline.flow import Flow
from pipeline.identity.record_factory import profile_of
from pipeline.model.interaction import FactValue, Identifier, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.profile import Profile
from pipeline.model.time import DAY_MS, GRACE_MS, HOUR_MS, MINUTE_MS
from tests.support.worlds import rules

_START_MS: Final = 1_700_000_000_000
_COOKIE: Final = Identifier("cookie", "k")
_GAP_MS: Final = 30 * MINUTE_MS
_TWO_PAGES: Final = {"sequence": [{"name": "A"}, {"name": "B"}], "within": "2h"}


class _TinyWorld:
    """World with one profile, to which interactions and time come."""

    def __init__(self, **segments: dict[str, Any]) -> None:
        self._flow = Flow(
            rules(
                model.Bundle(
                    sources=model.Sources((model.Source("shop", "web", "write-key-1"),)),
                    identity=model.Identity((model.Namespace("cookie"),)),
                    channels=model.Channels((model.Channel("web"),)),
                    profile=model.ProfileRules(
                        (
                            model.TraitDefinition("hourly", "count", window="1h"),
                            model.TraitDefinition("ever", "count"),
                            model.TraitDefinition("page", "latest", of="properties.page"),
                            model.TraitDefinition("last", "recency"),
                            model.TraitDefinition("pages", "union", of="properties.page"),
                        )
                    ),
                    segments=tuple(
                        model.Segment(name, condition) for name, condition in segments.items()
                    ),
                )
            )
        )
        self._emits: list[Emit] = []

    def interact(
        self, event_id: str, received_at: int, occurred_at: int | None = None, **properties: Any
    ) -> None:
        occurrence_ms = received_at if occurred_at is None else occurred_at
        name = event_id[-1]
        interaction = Interaction(
            event_id,
            "track",
            name,
            "web",
            "shop",
            occurrence_ms,
            received_at,
            (_COOKIE,),
            properties,
        )
        self._emits += self._flow.run(interaction)
        assert not self._flow.dead_letters

    def members_after(self, now_ms: int) -> set[str]:
        """Let time pass until `now_ms`, and return the profile's segments."""
        self._emits += self._flow.advance(now_ms)
        return set(self._flow.rows["segmentation"][profile_of(_COOKIE.key)].members)

    def traits(self) -> dict[str, FactValue]:
        return [emit.value for emit in self._emits if isinstance(emit.value, Profile)][-1].traits


def test_clock_ahead_counts_as_receipt_in_windows_latest_values_and_recency() -> None:
    world = _TinyWorld(recent={"trait": "last", "within": "5m"}, busy={"trait": "hourly", "gte": 2})
    world.interact("fast", _START_MS, _START_MS + 50 * MINUTE_MS, page=1)
    assert world.traits()["last"] == _START_MS
    world.interact("right", _START_MS + MINUTE_MS, page=2)
    assert (world.traits()["page"], world.traits()["last"]) == (2, _START_MS + MINUTE_MS)
    assert world.members_after(_START_MS + 6 * MINUTE_MS - 1) == {"recent", "busy"}
    assert world.members_after(_START_MS + 6 * MINUTE_MS) == {"busy"}
    assert world.members_after(_START_MS + HOUR_MS) == set()


def test_clock_ahead_does_not_change_the_order_of_a_sequence() -> None:
    world = _TinyWorld(both=_TWO_PAGES)
    world.interact("1A", _START_MS, _START_MS + 50 * MINUTE_MS)
    world.interact("1B", _START_MS + MINUTE_MS)
    assert world.members_after(_START_MS + MINUTE_MS) == {"both"}


@pytest.mark.parametrize(
    ("first_id", "second_id", "members"), [("1A", "2B", {"both"}), ("2A", "1B", set())]
)
def test_steps_of_one_millisecond_are_in_the_order_of_their_ids(
    first_id: str, second_id: str, members: set[str]
) -> None:
    # The result is the same in either order of arrival.
    for order in ((first_id, second_id), (second_id, first_id)):
        world = _TinyWorld(both=_TWO_PAGES)
        for event_id in order:
            world.interact(event_id, _START_MS)
        assert world.members_after(_START_MS) == members


@pytest.mark.parametrize(("gap_ms", "session_count"), [(_GAP_MS, 1), (_GAP_MS + 1, 2)])
def test_gap_of_exactly_its_length_does_not_end_a_session(gap_ms: int, session_count: int) -> None:
    world = _TinyWorld()
    world.interact("1A", _START_MS)
    world.interact("2A", _START_MS + gap_ms)
    assert world.traits()["sessions"] == session_count


def test_interaction_later_than_the_grace_counts_where_its_moment_still_lies() -> None:
    # The interaction counts in a lifetime always, in a window that holds its moment, and never as
    # the latest.
    world = _TinyWorld()
    world.interact("1A", _START_MS + GRACE_MS + DAY_MS, page=1)
    world.interact("2A", _START_MS + GRACE_MS + DAY_MS, _START_MS, page=2)
    assert (world.traits()["ever"], world.traits()["hourly"]) == (2, 1)
    assert (world.traits()["page"], world.traits()["pages"]) == (1, ("1", "2"))


def test_union_keeps_the_hundred_latest() -> None:
    world = _TinyWorld()
    for number in range(150):
        world.interact(f"{number}A", _START_MS + number, page=f"p{number:03}")
    assert world.traits()["pages"] == tuple(f"p{number:03}" for number in range(50, 150))
