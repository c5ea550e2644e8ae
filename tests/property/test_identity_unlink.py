"""A link that is taken away leaves profiles and segments as if it had never been."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.identity.causes import profile_of
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Interaction
from tests.support.identity_streams import MINUTE_MS, NAMES, Record, Seen, interactions, unlink


@st.composite
def streams(draw: st.DrawFn) -> list[Record]:
    """Interactions, some late and some early, and now and then a link that is taken away."""
    count = draw(st.integers(2, 16))
    stream: list[Record] = [
        draw(unlinks(minute)) if draw(st.integers(0, 4)) == 0 else draw(interactions(minute))
        for minute in range(1, count + 1)
    ]
    return [*stream, draw(unlinks(count + 1))]


@st.composite
def unlinks(draw: st.DrawFn, minute: int) -> IdentityChange:
    """Named from either end; the pair may never have been linked."""
    one, other = draw(st.permutations(NAMES))[:2]
    return unlink(one.key, other.key, minute * MINUTE_MS)


@settings(max_examples=150, deadline=None)
@given(streams())
def test_profiles_and_segments_are_those_of_a_replay_without_the_link(
    stream: list[Record],
) -> None:
    live = Seen(stream)
    cuts = [one for one in stream if isinstance(one, IdentityChange)]
    came = [one for one in stream if isinstance(one, Interaction)]
    replayed = Seen([*cuts, *came])
    assert live.people() == replayed.people()
    assert live.profiles() == replayed.profiles()
    assert live.segments() == replayed.segments()
    _each_is_named_by_its_own_profile_only(live)


def _each_is_named_by_its_own_profile_only(seen: Seen) -> None:
    people = seen.people()
    for profile, known in seen.profiles().items():
        names = str(known["names"]).split()
        assert [profile_of(people[name]) for name in names] == [profile] * len(names)
