"""The codec's framing, and its errors for bytes that are not records."""

import math
import struct
from dataclasses import dataclass

import msgspec
import pytest

from pipeline.adapters.avro import Codec, MalformedRecord, SchemaVersion, recorded_versions
from pipeline.adapters.avro.subjects import CLASSES
from pipeline.model.decision import Action
from pipeline.model.interaction import Interaction, Scalar
from pipeline.model.profile import Memberships, Profile
from tests.records import example

CODEC = Codec(recorded_versions())
INTERACTION = example(Interaction)


def encode_interaction(interaction: Interaction = INTERACTION) -> bytes:
    data = CODEC.encode("interactions", interaction)
    assert data is not None
    return data


def interaction_with_property(value: Scalar) -> Interaction:
    return msgspec.structs.replace(INTERACTION, properties={"price": value})


def encode_long(value: int) -> bytes:
    """Return a zigzag varint, as Avro writes every count and length."""
    value = (value << 1) ^ (value >> 63)
    output = bytearray()
    while value > 0x7F:
        output.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*output, value))


def encode_text(value: str) -> bytes:
    return encode_long(len(value)) + value.encode()


HEADER = encode_interaction()[:5]
UP_TO_IDENTIFIERS = (
    HEADER + b"".join(map(encode_text, ("id", "track", "n", "web", "s"))) + encode_long(1) * 2
)
UP_TO_PROPERTIES = (
    UP_TO_IDENTIFIERS
    + encode_long(1)
    + encode_text("email")
    + encode_text("a@b.c")
    + encode_long(0)
)


def test_header_is_a_zero_byte_and_the_big_endian_schema_id() -> None:
    *_, version = (v for v in recorded_versions() if v.name == "interactions")
    assert encode_interaction()[:5] == b"\0" + struct.pack(">I", version.id)


def test_none_is_encoded_as_a_tombstone() -> None:
    assert CODEC.encode("profiles", None) is None


@pytest.mark.parametrize("channel", ["web", "email", "never heard of"])
def test_every_action_topic_has_the_schema_of_actions(channel: str) -> None:
    action = example(Action)
    data = CODEC.encode(f"actions.{channel}", action)
    assert data is not None
    assert CODEC.decode(f"actions.{channel}", data) == action


def test_record_of_another_class_raises_a_type_error() -> None:
    with pytest.raises(TypeError, match="profiles carries Profile, not Memberships"):
        CODEC.encode("profiles", example(Memberships))


@pytest.mark.parametrize("value", [None, True, False, 0, 1, 1.0, -(2**63), 2**63 - 1, "", "1"])
def test_scalars_keep_their_type(value: Scalar) -> None:
    record = CODEC.decode("interactions", encode_interaction(interaction_with_property(value)))
    assert isinstance(record, Interaction)
    assert record.properties == {"price": value}
    assert type(record.properties["price"]) is type(value)


def test_integer_beyond_64_bits_becomes_a_double() -> None:
    record = CODEC.decode("interactions", encode_interaction(interaction_with_property(2**80)))
    assert isinstance(record, Interaction)
    assert record.properties == {"price": float(2**80)}


@pytest.mark.parametrize("length", [0, 63, 64, 1_023, 1_024, 8_191, 8_192, 1 << 20])
def test_texts_of_every_length_have_their_length_before_them(length: int) -> None:
    name = "n" * length
    data = encode_interaction(msgspec.structs.replace(INTERACTION, name=name))
    assert encode_long(length) + name.encode() in data
    record = CODEC.decode("interactions", data)
    assert isinstance(record, Interaction)
    assert record.name == name


@pytest.mark.parametrize("at", [2**63, -(2**63) - 1, 2**80])
def test_time_beyond_64_bits_is_not_written(at: int) -> None:
    with pytest.raises(OverflowError, match="64 bits"):
        encode_interaction(msgspec.structs.replace(INTERACTION, occurred_at=at))


def test_text_that_utf_8_cannot_write_is_not_written() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_interaction(msgspec.structs.replace(INTERACTION, name="\ud800"))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_doubles_that_are_not_finite_are_refused(value: float) -> None:
    record = CODEC.decode("interactions", encode_interaction(interaction_with_property(value)))
    assert record == MalformedRecord("not-finite", f"properties.price is {value}")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not-confluent-framing"),
        (b"\0\0\0\0", "not-confluent-framing"),
        (b'{"event_id": "1"}', "not-confluent-framing"),
        (b"\1" + encode_interaction()[1:], "not-confluent-framing"),
        (b"\0\xff\xff\xff\xff", "unknown-schema-id"),
        (CODEC.encode("profiles", example(Profile)), "schema-of-another-topic"),
        (encode_interaction() + b"\0", "malformed-avro"),
        (HEADER, "malformed-avro"),
        (HEADER + encode_long(2) + b"\xff\xfe", "malformed-avro"),
        (HEADER + b"\xff" * 1000, "malformed-avro"),
    ],
)
def test_bytes_that_are_no_record_have_a_reason(data: bytes, reason: str) -> None:
    record = CODEC.decode("interactions", data)
    assert isinstance(record, MalformedRecord)
    assert record.reason == reason
    assert record.detail


def test_unknown_kind_is_named() -> None:
    data = encode_interaction().replace(encode_text("track"), encode_text("trick"))
    record = CODEC.decode("interactions", data)
    assert isinstance(record, MalformedRecord)
    assert record.reason == "invalid-record"
    assert "'trick'" in record.detail
    assert "$.kind" in record.detail


@pytest.mark.parametrize("name", CLASSES)
def test_truncated_record_is_refused_at_any_length(name: str) -> None:
    topic = "actions.web" if name == "actions" else name
    data = CODEC.encode(topic, example(CLASSES[name]))
    assert data is not None
    for length in range(len(data)):
        assert isinstance(CODEC.decode(topic, data[:length]), MalformedRecord), length


@pytest.mark.parametrize("count", [2**31, 2**62, 2**63 - 1, -1, -(2**62), -(2**63)])
@pytest.mark.parametrize(
    "prefix",
    [
        HEADER,
        UP_TO_IDENTIFIERS,
        UP_TO_PROPERTIES,
        UP_TO_PROPERTIES + encode_long(1) + encode_text("price"),
    ],
    ids=["string", "array", "map", "union"],
)
@pytest.mark.parametrize("suffix", [b"", encode_text("a") * 2], ids=["nothing", "something"])
def test_absurd_lengths_are_refused_at_once(prefix: bytes, count: int, suffix: bytes) -> None:
    # An allocation of such a length would raise MemoryError.
    record = CODEC.decode("interactions", prefix + encode_long(count) + suffix)
    assert isinstance(record, MalformedRecord)
    assert record.reason == "malformed-avro"


@dataclass(frozen=True)
class Evolution:
    """Codec of version 1 only, and codec of versions 1 and 2; version 2 has one field more."""

    old_codec: Codec
    new_codec: Codec


@pytest.fixture
def evolution() -> Evolution:
    """Version 1 of `memberships` lacks the last field, `config`; version 2 has 'unknown' there."""
    (current_version,) = (
        version for version in recorded_versions() if version.name == "memberships"
    )
    *fields, last_field = current_version.schema["fields"]
    first_version = SchemaVersion(
        901, "memberships", 1, current_version.schema | {"fields": fields}
    )
    new_fields = [*fields, last_field | {"default": "unknown"}]
    second_version = SchemaVersion(
        902, "memberships", 2, current_version.schema | {"fields": new_fields}
    )
    return Evolution(Codec([first_version]), Codec([first_version, second_version]))


def test_older_version_resolves_to_the_current_one(evolution: Evolution) -> None:
    record = example(Memberships)
    data = evolution.old_codec.encode("memberships", record)
    assert data is not None
    assert data[:5] == b"\0" + struct.pack(">I", 901)
    expected = msgspec.structs.replace(record, config="unknown")
    assert evolution.new_codec.decode("memberships", data) == expected


def test_newest_version_is_written(evolution: Evolution) -> None:
    data = evolution.new_codec.encode("memberships", example(Memberships))
    assert data is not None
    assert data[:5] == b"\0" + struct.pack(">I", 902)
    assert evolution.new_codec.decode("memberships", data) == example(Memberships)
