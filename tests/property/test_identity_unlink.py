"""Profiles and segments after an unlink are as if the link had never been."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.identity.record_factory import profile_of
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Identifier, Interaction
from tests.support.cases import cases
from tests.support.identity_streams import (
    MINUTE_MS,
    NAMES,
    ReaderView,
    Record,
    interactions,
    unlink_request,
)


@st.composite
def streams(draw: st.DrawFn) -> list[Record]:
    """Draw interactions, some late and some early, and now and then the removal of a link."""
    count = draw(st.integers(2, 16))
    stream: list[Record] = [
        draw(unlinks(minute)) if draw(st.integers(0, 3)) == 0 else draw(interactions(minute))
        for minute in range(1, count + 1)
    ]
    return [*stream, draw(unlinks(count + 1))]


@st.composite
def unlinks(draw: st.DrawFn, minute: int) -> IdentityChange:
    """Draw unlinks from either end; the pair may never have been linked."""
    name, other_name = draw(st.permutations(NAMES))[:2]
    return unlink_request(name.key, other_name.key, minute * MINUTE_MS)


def _order(minute: int, *names: str) -> Interaction:
    time_ms = minute * MINUTE_MS
    identifiers = tuple(map(Identifier.parse, names))
    return Interaction(f"e{minute}", "track", "Order", "web", "shop", time_ms, time_ms, identifiers)


_NEXT_OWNER = [
    _order(1, "email:x", "cookie:k"),
    _order(2, "customer_id:B", "cookie:k"),
    _order(3, "customer_id:A", "cookie:k"),
    _order(4, "cookie:k"),
    unlink_request("cookie:k", "customer_id:A", 5 * MINUTE_MS),
]
"""The shard that the cookie has on behalf of A goes to B, who claimed it next, not to its first
owner."""

_NEW_LINK = [
    _order(1, "customer_id:A", "cookie:k"),
    _order(2, "cookie:k"),
    unlink_request("customer_id:A", "cookie:k", 3 * MINUTE_MS),
    _order(4, "customer_id:B", "cookie:k"),
    _order(5, "cookie:k"),
    _order(6, "customer_id:A", "cookie:k"),
    _order(7, "cookie:k"),
]
"""A new link restores nothing that the removal of the old one took away."""


@settings(max_examples=cases(150), deadline=None)
@example(_NEXT_OWNER)
@example(_NEW_LINK)
@given(streams())
def test_profiles_and_segments_are_those_of_a_replay_without_the_link(
    stream: list[Record],
) -> None:
    live_view = ReaderView(stream)
    cuts = [record for record in stream if isinstance(record, IdentityChange)]
    arrivals = [record for record in stream if isinstance(record, Interaction)]
    replay_view = ReaderView([*cuts, *arrivals])
    assert live_view.roots() == replay_view.roots()
    assert live_view.profiles() == replay_view.profiles()
    assert live_view.segments() == replay_view.segments()
    _check_names(live_view)


def _check_names(view: ReaderView) -> None:
    people = view.roots()
    for profile, traits in view.profiles().items():
        names = str(traits["names"]).split()
        assert [profile_of(people[name]) for name in names] == [profile] * len(names)


_UNLINK_BEFORE_THE_EVIDENCE = [
    _order(1, "customer_id:A", "cookie:k"),
    _order(2, "cookie:k"),
    _order(3, "customer_id:B", "cookie:k"),
    _order(4, "cookie:k"),
    unlink_request("customer_id:B", "cookie:k", 2 * MINUTE_MS),
]
"""The link with B was shown since: the cookie's interactions on behalf of B stay with B."""


@st.composite
def shared_devices(draw: st.DrawFn) -> list[Record]:
    """Draw streams of one cookie of up to eight customers; links are removed as of now or before,
    but not as of a moment between two at which the same link was shown."""
    evidence_minutes: dict[str, list[int]] = {}
    stream: list[Record] = []
    count = draw(st.integers(2, 24))
    for minute in range(1, count + 1):
        if draw(st.booleans()):
            customer = f"customer_id:{draw(st.integers(1, 8))}"
            evidence_minutes.setdefault(customer, []).append(minute)
            stream.append(_order(minute, customer, "cookie:k"))
        else:
            stream.append(_order(minute, "cookie:k"))
    for number in range(1, 9):
        customer = f"customer_id:{number}"
        if draw(st.booleans()):
            cut_minute = draw(st.integers(1, count + 1))
            minutes = evidence_minutes.get(customer, [cut_minute])
            cut_minute = cut_minute if cut_minute < minutes[0] else max(cut_minute, minutes[-1])
            stream.append(unlink_request(customer, "cookie:k", cut_minute * MINUTE_MS))
    return stream


@settings(max_examples=cases(300), deadline=None)
@example(_UNLINK_BEFORE_THE_EVIDENCE)
@given(shared_devices())
def test_device_of_many_owners_is_as_in_a_replay_without_the_links(
    stream: list[Record],
) -> None:
    live_view, replay_view = ReaderView(stream), ReaderView(_move_cuts_first(stream))
    assert live_view.roots() == replay_view.roots()
    assert live_view.profiles() == replay_view.profiles()
    assert live_view.segments() == replay_view.segments()
    _check_names(live_view)


def _move_cuts_first(stream: list[Record]) -> list[Record]:
    return sorted(stream, key=lambda record: isinstance(record, Interaction))
