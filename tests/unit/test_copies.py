"""An interaction that comes twice is known by its id, whatever times its copies claim."""

from typing import Final

import pytest

from agents.metrics import StageMetrics
from agents.ports import Message
from agents.stage import StageShell
from pipeline.adapters.avro import Codec, recorded
from pipeline.flow import stage
from pipeline.model import topics
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.time import DAY_MS, GRACE_MS
from tests.support.shells import ONLY, Rows, finish, handing_over, knowing
from tests.support.worlds import plain_rules

_NOW_MS: Final = 1_900_000_000_000
_CODEC: Final = Codec(recorded())


class _Identity:
    """The identity stage, to which apps of others write."""

    def __init__(self) -> None:
        self._ports = Rows()
        name = "identity"
        self._shell = StageShell(
            stage(name),
            self._ports,
            handing_over(_CODEC),
            knowing(plain_rules()),
            StageMetrics(name),
        )
        self._offset = 0

    def come(self, event_id: str, claimed_ms: int, at_ms: int) -> bool:
        """An interaction that claims a time, and stands in the log since another; whether it is
        processed."""
        who = Identifier("email", "ada@x")
        one = Interaction(event_id, "track", "View", "web", "shop", claimed_ms, claimed_ms, (who,))
        value = _CODEC.encode(topics.INTERACTIONS, one)
        key = who.key.encode()
        offset, self._offset = self._offset, self._offset + 1
        message = Message(topics.INTERACTIONS, ONLY, offset, at_ms, key, value, ())
        finish(self._shell.handle(message))
        sent, self._ports.sent = self._ports.sent, []
        return topics.IDENTIFIED in [record.topic for record in sent]


@pytest.fixture
def identity() -> _Identity:
    return _Identity()


def test_a_copy_that_claims_another_time_is_known(identity: _Identity) -> None:
    assert identity.come("e", _NOW_MS - 30 * DAY_MS, _NOW_MS)
    assert not identity.come("e", _NOW_MS + DAY_MS, _NOW_MS + DAY_MS)


def test_what_claims_a_time_long_ago_is_remembered_beside_what_claims_now(
    identity: _Identity,
) -> None:
    long_ago_ms = _NOW_MS - 30 * DAY_MS
    assert identity.come("e", long_ago_ms, _NOW_MS)
    for number in range(5):
        assert identity.come(f"other-{number}", _NOW_MS, _NOW_MS)
    assert not identity.come("e", long_ago_ms, _NOW_MS + 1)


def test_after_twice_the_grace_it_is_another(identity: _Identity) -> None:
    assert identity.come("e", _NOW_MS, _NOW_MS)
    assert not identity.come("e", _NOW_MS, _NOW_MS + GRACE_MS)
    assert identity.come("e", _NOW_MS, _NOW_MS + 2 * GRACE_MS)
