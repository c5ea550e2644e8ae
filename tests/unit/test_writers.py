"""Whoever writes does so once, in order and to the right partition, whatever a user has set."""

import pytest

from pipeline.adapters.avro import Codec, recorded
from pipeline.adapters.identities import IdentityWriter
from pipeline.adapters.kafka import OURS, WRITER, Publisher
from pipeline.ingest.sending import FilePublisher

pytestmark = pytest.mark.anyio

_CODEC = Codec(recorded())
_GIVEN = {"bootstrap.servers": "localhost:1", "log_level": 0, **dict.fromkeys(WRITER, "nonsense")}
"""librdkafka refuses a client that has any of this."""


async def test_what_writers_rely_on_is_not_changed_by_what_is_given() -> None:
    await Publisher(_GIVEN, 1_000, pytest.fail).close()
    FilePublisher(_GIVEN, _CODEC)
    IdentityWriter(_GIVEN, _CODEC)


def test_what_writers_rely_on_is_not_taken() -> None:
    assert WRITER.keys() <= OURS
