"""A link that is taken away leaves profiles and segments as if it had never been."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.flow import Flow
from pipeline.identity.causes import profile_of
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Identifier, Interaction, Scalar
from pipeline.model.outcome import Emit
from pipeline.model.profile import Memberships, Profile
from tests.support.worlds import RANKS, plain_rules

_NAMES = [
    Identifier(namespace, value)
    for namespace, values in (("customer_id", "AB"), ("email", "xy"), ("cookie", "klm"))
    for value in values
]
_MINUTE_MS = 60_000
Record = Interaction | IdentityChange


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
def interactions(draw: st.DrawFn, minute: int) -> Interaction:
    names = draw(st.sets(st.sampled_from(_NAMES), min_size=1, max_size=3))
    now_ms = minute * _MINUTE_MS
    late_ms = draw(st.sampled_from([0, 0, 0, 1, 3, 5])) * _MINUTE_MS
    properties: dict[str, Scalar] = {
        "total": draw(st.integers(0, 9)),
        "page": f"p{draw(st.integers(0, 3))}",
    }
    return Interaction(
        event_id=f"e{minute}",
        kind=draw(st.sampled_from(["track", "track", "track", "alias"])),
        name=draw(st.sampled_from(["View", "Order"])),
        channel="web",
        source="shop",
        occurred_at=max(now_ms - late_ms - minute, 1),
        received_at=now_ms,
        identifiers=tuple(sorted(names, key=lambda one: (RANKS[one.namespace], one.value))),
        properties=properties,
    )


@st.composite
def unlinks(draw: st.DrawFn, minute: int) -> IdentityChange:
    """Named from either end; the pair may never have been linked."""
    one, other = draw(st.permutations(_NAMES))[:2]
    return _unlink(one.key, other.key, minute * _MINUTE_MS)


def _unlink(one: str, other: str, at: int) -> IdentityChange:
    return IdentityChange(f"u{one}{other}{at}", "unlink", one, at, "", other=other)


class Seen:
    """What readers see in the end, after a stream went through the stages."""

    def __init__(self, stream: Sequence[Record]) -> None:
        self.flow = Flow(plain_rules())
        self.written: list[Emit] = [emit for one in stream for emit in self.flow.run(one)]
        assert not self.flow.refused

    def profiles(self) -> dict[str, dict[str, Scalar]]:
        return {
            key: {**value.traits, "names": " ".join(value.identifiers)}
            for key, value in self._last(topics.PROFILES).items()
            if isinstance(value, Profile)
        }

    def segments(self) -> dict[str, set[str]]:
        return {
            key: set(value.segments)
            for key, value in self._last(topics.MEMBERSHIPS).items()
            if isinstance(value, Memberships) and value.segments
        }

    def people(self) -> dict[str, str]:
        return {key: row.root for key, row in self.flow.rows["identity"].items()}

    def _last(self, topic: str) -> dict[str, object]:
        return {emit.key: emit.value for emit in self.written if emit.topic == topic}


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
    _nobody_is_named_twice(live)


def _nobody_is_named_twice(seen: Seen) -> None:
    """And whoever is named in a profile is one of its person's identifiers."""
    people = seen.people()
    for profile, known in seen.profiles().items():
        names = str(known["names"]).split()
        assert [profile_of(people[name]) for name in names] == [profile] * len(names)
