"""Who is forgotten is gone from every stage; others stay as they are."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.identity.causes import profile_of
from pipeline.model import topics
from tests.support.identity_streams import MINUTE_MS, Record, Seen, forget, interactions

_PROFILE_STAGES = ("enrichment", "segmentation", "decisioning")


@st.composite
def streams(draw: st.DrawFn) -> list[Record]:
    count = draw(st.integers(1, 14))
    return [draw(interactions(minute)) for minute in range(1, count + 1)]


@settings(max_examples=150, deadline=None)
@given(streams(), st.data())
def test_nothing_is_left_of_who_is_forgotten_and_all_of_the_others(
    stream: list[Record], data: st.DataObject
) -> None:
    seen = Seen(stream)
    people, profiles, segments = seen.people(), seen.profiles(), seen.segments()
    asked = data.draw(st.sampled_from(sorted(people)))
    person = {name for name, top in people.items() if top == people[asked]}
    gone = {profile_of(name) for name in person}

    seen.feed(forget(asked, 20 * MINUTE_MS))

    assert seen.people() == {name: top for name, top in people.items() if name not in person}
    _nobody_knows_them(seen, person)
    for stage in _PROFILE_STAGES:
        assert not gone & seen.flow.rows[stage].keys()
    assert seen.profiles() == {key: one for key, one in profiles.items() if key not in gone}
    assert seen.segments() == {key: one for key, one in segments.items() if key not in gone}
    assert all(seen.last(topics.MEMBERSHIPS).get(key) is None for key in gone)


def _nobody_knows_them(seen: Seen, person: set[str]) -> None:
    for row in seen.flow.rows["identity"].values():
        kept = msgspec.json.encode(row).decode()
        assert not [name for name in person if f'"{name}"' in kept]


@settings(max_examples=50, deadline=None)
@given(streams(), interactions(30))
def test_who_comes_back_is_somebody_new(stream: list[Record], again: Record) -> None:
    seen = Seen(stream)
    for name in sorted(seen.people()):
        seen.feed(forget(name, 20 * MINUTE_MS))
    assert not any(seen.flow.rows.values())
    seen.feed(again)
    alone = Seen([again])
    assert seen.profiles() == alone.profiles()
    assert seen.people() == alone.people()
