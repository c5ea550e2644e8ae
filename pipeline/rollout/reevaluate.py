"""Evaluates every profile by the configuration in force, beside the stream and behind it."""

from collections.abc import Iterable

from pipeline.adapters.records import Records
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.ids import control_id
from pipeline.model.outcome import Emit
from pipeline.model.stages import Identified
from pipeline.rollout.people import Person
from pipeline.rollout.throttled_feed import Feeder, Progress


def reevaluate(records: Records, people: Iterable[Person], digest: str, progress: Progress) -> None:
    """One refresh a profile, as of the last record about it; returns once all have had effect.

    Done again it changes nothing. Raises StalledError.
    """
    feeder = Feeder(records)
    feeder.give((refresh(person, digest) for person in people), progress)
    feeder.settle()


def refresh(person: Person, digest: str) -> Emit:
    """Has the stages evaluate one profile by the configuration `digest`."""
    profile = person.profile
    control = Control(
        control_id=control_id(digest, "refresh", profile.profile_id),
        kind="refresh",
        at=person.at,
        cause=digest,
        config=digest,
    )
    return Emit(topics.IDENTIFIED, profile.profile_id, Identified(control=control))
