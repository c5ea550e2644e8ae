"""Re-evaluation of every profile by the configuration in force, beside the stream."""

from collections.abc import Iterable

from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.ids import control_id
from pipeline.model.outcome import Emit
from pipeline.model.stages import Identified
from pipeline.profile_reads.member_profiles import MemberProfile
from pipeline.rollout.throttled_feed import Progress, ThrottledFeed


def reevaluate(
    records: Records, people: Iterable[MemberProfile], digest: str, progress: Progress
) -> None:
    """Refresh each profile as of its latest record; return once all refreshes are processed.

    Idempotent. Raises StalledError.
    """
    feed = ThrottledFeed(records)
    feed.feed((refresh_control(person, digest) for person in people), progress)
    feed.wait_until_processed()


def refresh_control(person: MemberProfile, digest: str) -> Emit:
    """Return the control by which the stages evaluate one profile by the configuration `digest`."""
    profile = person.profile
    control = Control(
        control_id=control_id(digest, "refresh", profile.profile_id),
        kind="refresh",
        at=person.at,
        cause=digest,
        config=digest,
    )
    return Emit(topics.IDENTIFIED, profile.profile_id, Identified(control=control))
