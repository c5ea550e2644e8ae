"""Settings of users do not override those by which writers write once and in order."""

import pytest

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.adapters.identities import IdentityWriter
from pipeline.adapters.kafka import RESERVED_SETTINGS, WRITER_SETTINGS, AsyncPublisher
from pipeline.row_files.sending import FilePublisher

pytestmark = pytest.mark.anyio

_CODEC = Codec(recorded_versions())
_BAD_PROPERTIES = {
    "bootstrap.servers": "localhost:1",
    "log_level": 0,
    **dict.fromkeys(WRITER_SETTINGS, "nonsense"),
}
"""Properties with which librdkafka refuses a client."""


async def test_user_settings_do_not_override_writer_settings() -> None:
    await AsyncPublisher(_BAD_PROPERTIES, 1_000, pytest.fail).close()
    FilePublisher(_BAD_PROPERTIES, _CODEC, linger_ms=20)
    IdentityWriter(_BAD_PROPERTIES, _CODEC)


def test_writer_settings_are_reserved() -> None:
    assert WRITER_SETTINGS.keys() <= RESERVED_SETTINGS
