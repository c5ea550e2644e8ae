"""A row whose state is gone stays for an hour, for what is sent twice, and is then deleted."""

import pytest

from agents.metrics import StageMetrics
from agents.ports import Message
from agents.stage import StageShell
from pipeline.adapters.avro import Codec, recorded
from pipeline.flow import stage
from pipeline.identity.causes import profile_of
from pipeline.model import topics
from pipeline.model.control import Control
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.stages import Identified, IdentitySection
from tests.support.shells import Rows, finish, handing_over, knowing
from tests.support.worlds import plain_rules

_NOW_MS = 1_900_000_000_000
_HOUR_MS = 3_600_000
_PROFILE = profile_of("email:ada@x")


class _Enrichment:
    """One enrichment stage, told things."""

    def __init__(self) -> None:
        self.ports = Rows()
        self._codec = Codec(recorded())
        rulebook = knowing(plain_rules())
        one = stage("enrichment")
        handover = handing_over(self._codec)
        self.shell = StageShell(one, self.ports, handover, rulebook, StageMetrics(one.name))
        self._offset = 0

    def tell(self, record: Identified) -> None:
        value = self._codec.encode(topics.IDENTIFIED, record)
        key = _PROFILE.encode()
        message = Message(topics.IDENTIFIED, 0, self._offset, _NOW_MS, key, value, ())
        self._offset += 1
        finish(self.shell.handle(message))

    def has_row(self) -> bool:
        return b"r" + _PROFILE.encode() in self.ports.rows


@pytest.fixture
def enrichment() -> _Enrichment:
    return _Enrichment()


def _came() -> Identified:
    config = plain_rules().config.digest
    ada = Identifier("email", "ada@x")
    interaction = Interaction("e", "track", "View", "web", "shop", _NOW_MS, _NOW_MS, (ada,))
    return Identified(
        interaction=interaction,
        identity=IdentitySection(_PROFILE, ada.key, f"{ada.key}/0", 0, config),
    )


def _forget() -> Identified:
    config = plain_rules().config.digest
    return Identified(control=Control("f", "forget", _NOW_MS, "c", config))


def test_a_row_without_state_is_deleted_after_an_hour(enrichment: _Enrichment) -> None:
    enrichment.tell(_came())
    enrichment.tell(_forget())
    enrichment.shell.tell_due(_NOW_MS + _HOUR_MS - 1)
    assert enrichment.has_row()
    sent = list(enrichment.ports.sent)
    enrichment.shell.tell_due(_NOW_MS + _HOUR_MS)
    assert not enrichment.ports.rows
    assert enrichment.ports.sent == sent


def test_who_comes_back_within_the_hour_stays(enrichment: _Enrichment) -> None:
    enrichment.tell(_came())
    enrichment.tell(_forget())
    enrichment.tell(_came())
    enrichment.shell.tell_due(_NOW_MS + 2 * _HOUR_MS)
    assert enrichment.has_row()
    assert [key for key in enrichment.ports.rows if key[:1] == b"t"] == []
