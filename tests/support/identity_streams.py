"""Random interactions of a few customers who share devices, and the profiles that readers see."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from pipeline.flow import Flow
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Identifier, Interaction, Scalar
from pipeline.model.outcome import Emit
from pipeline.model.profile import Memberships, Profile
from tests.support.worlds import RANKS, plain_rules

NAMES = [
    Identifier(namespace, value)
    for namespace, values in (("customer_id", "AB"), ("email", "xy"), ("cookie", "k"))
    for value in values
]
MINUTE_MS = 60_000
Record = Interaction | IdentityChange


@st.composite
def interactions(draw: st.DrawFn, minute: int) -> Interaction:
    """Draw the interaction received in that minute; it may have occurred some minutes before."""
    names = draw(st.sets(st.sampled_from(NAMES), min_size=1, max_size=2))
    now_ms = minute * MINUTE_MS
    delay_ms = draw(st.sampled_from([0, 0, 0, 1, 3, 5])) * MINUTE_MS
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
        occurred_at=max(now_ms - delay_ms - minute, 1),
        received_at=now_ms,
        identifiers=tuple(sorted(names, key=lambda name: (RANKS[name.namespace], name.value))),
        properties=properties,
    )


def unlink_request(identifier: str, other: str, at: int) -> IdentityChange:
    event_id = f"unlink-{identifier}-{other}-{at}"
    return IdentityChange(event_id, "unlink", identifier, at, "", other=other)


def forget_request(identifier: str, at: int) -> IdentityChange:
    return IdentityChange(f"forget-{identifier}-{at}", "forget", identifier, at, "")


class ReaderView:
    """Profiles and memberships that readers see after a stream went through the stages."""

    def __init__(self, stream: Sequence[Record]) -> None:
        self.flow = Flow(plain_rules())
        self.outputs: list[Emit] = []
        for record in stream:
            self.feed(record)

    def feed(self, record: Record) -> None:
        self.outputs.extend(self.flow.run(record))
        assert not self.flow.dead_letters

    def profiles(self) -> dict[str, dict[str, Scalar]]:
        return {
            key: {**value.traits, "names": " ".join(value.identifiers)}
            for key, value in self.latest_values(topics.PROFILES).items()
            if isinstance(value, Profile)
        }

    def segments(self) -> dict[str, set[str]]:
        return {
            key: set(value.segments)
            for key, value in self.latest_values(topics.MEMBERSHIPS).items()
            if isinstance(value, Memberships) and value.segments
        }

    def roots(self) -> dict[str, str]:
        """Return every identifier's root."""
        return {key: row.root for key, row in self.flow.rows["identity"].items()}

    def latest_values(self, topic: str) -> dict[str, Any]:
        """Return the last value of each key of a topic."""
        return {emit.key: emit.value for emit in self.outputs if emit.topic == topic}
