"""What a configuration would change: who enters and leaves which segment, counted beforehand.

Each person is evaluated as of the last record about them, so that the configuration in force
changes nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from pipeline.config.compile import Configuration
from pipeline.config.model import Trait
from pipeline.planning.people import Person
from pipeline.segmentation.evaluate import Change, on_change
from pipeline.segmentation.state import MembershipState


class SegmentPlan(Struct, frozen=True):
    """Members `now` and `after`, and how many of them `enter` and `leave`.

    `waits`: the segment reads interactions, so each profile's next one decides.
    """

    segment: str
    now: int
    after: int
    enter: int
    leave: int
    waits: bool


class Plan(Struct, frozen=True):
    """`counting_from_now`: traits that are new or kept by another rule; what came before is not
    in them. Segments that read them change as interactions come."""

    digest: str
    changed: bool
    profiles: int
    segments: tuple[SegmentPlan, ...]
    counting_from_now: tuple[str, ...]


def plan(people: Iterable[Person], current: Configuration | None, proposed: Configuration) -> Plan:
    """What applying `proposed` in the place of `current` would do to `people`."""
    counts: Counter[tuple[str, str]] = Counter()
    profiles = 0
    for person in people:
        profiles += 1
        change = _change(person, proposed)
        counts.update(("now", name) for name in person.members)
        counts.update(("enter", name) for name in change.entered)
        counts.update(("leave", name) for name in change.exited)
    names = {name for _, name in counts} | {segment.name for segment in proposed.segments}
    return Plan(
        digest=proposed.digest,
        changed=current is None or current.digest != proposed.digest,
        profiles=profiles,
        segments=tuple(_segment(name, counts, proposed) for name in sorted(names)),
        counting_from_now=tuple(sorted(_new_traits(current, proposed))),
    )


def _change(person: Person, proposed: Configuration) -> Change:
    traits = person.profile.traits
    section = {name: traits[name] for name in proposed.read_traits if name in traits}
    return on_change(MembershipState(person.members), section, person.at, proposed)


def _segment(name: str, counts: Counter[tuple[str, str]], proposed: Configuration) -> SegmentPlan:
    position = proposed.segment_index.positions.get(name)
    return SegmentPlan(
        segment=name,
        now=counts["now", name],
        after=counts["now", name] + counts["enter", name] - counts["leave", name],
        enter=counts["enter", name],
        leave=counts["leave", name],
        waits=position is not None and bool(proposed.segment_index.interaction >> position & 1),
    )


def _new_traits(current: Configuration | None, proposed: Configuration) -> Iterator[str]:
    known = {} if current is None else {one.name: _kept(one) for one in _traits(current)}
    for trait in _traits(proposed):
        if known.get(trait.name) != _kept(trait):
            yield trait.name


def _traits(config: Configuration) -> tuple[Trait, ...]:
    return config.bundle.profile.traits


def _kept(trait: Trait) -> Trait:
    """What is kept, without the words about it."""
    return replace(trait, description="")
