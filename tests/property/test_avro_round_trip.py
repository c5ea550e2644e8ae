"""Records of every type survive encoding, and their bytes equal those of Apache's own Avro."""

from io import BytesIO

import avro.io
import avro.schema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.avro import Codec, MalformedRecord, recorded_versions
from pipeline.adapters.avro.subjects import CLASSES
from pipeline.adapters.avro.versions import current_schemas
from pipeline.model.stages import Enriched, Segmented
from tests.records import records
from tests.support.cases import cases

CODEC = Codec(recorded_versions())
APACHE = {
    name: avro.schema.parse(msgspec.json.encode(schema).decode())
    for name, schema in current_schemas().items()
}
HEADER_BYTES = 5


class FirstMatchWriter(avro.io.DatumWriter):
    """Apache's writer, but with the first branch of a union that fits; Apache's own choice would
    turn 1 into 1.0."""

    def write_union(
        self,
        writers_schema: avro.schema.UnionSchema,
        datum: object,
        encoder: avro.io.BinaryEncoder,
    ) -> None:
        index, branch = next(
            (index, branch)
            for index, branch in enumerate(writers_schema.schemas)
            if avro.io.validate(branch, datum)
        )
        encoder.write_long(index)
        self.write_data(branch, datum, encoder)


def topic_of(name: str) -> str:
    return "actions.web" if name == "actions" else name


def encode_with_apache(name: str, record: msgspec.Struct) -> bytes:
    body = BytesIO()
    fields = msgspec.to_builtins(record, builtin_types=(bytes,))
    FirstMatchWriter(APACHE[name]).write(replace_tuples(fields), avro.io.BinaryEncoder(body))
    return body.getvalue()


def replace_tuples(value: object) -> object:
    """Return the value with lists for tuples, since Apache's writer takes no tuples for arrays."""
    match value:
        case dict():
            return {key: replace_tuples(element) for key, element in value.items()}
        case tuple() | list():
            return [replace_tuples(element) for element in value]
    return value


def decode_with_apache(name: str, body: bytes) -> msgspec.Struct:
    fields = avro.io.DatumReader(APACHE[name]).read(avro.io.BinaryDecoder(BytesIO(body)))
    return msgspec.convert(fields, CLASSES[name], builtin_types=(bytes,))


@pytest.mark.parametrize("name", CLASSES)
@settings(max_examples=cases(50))
@given(data=st.data())
def test_record_survives_and_bytes_equal_apaches(name: str, data: st.DataObject) -> None:
    record = data.draw(records(CLASSES[name]))
    encoding = CODEC.encode(topic_of(name), record)
    assert encoding is not None
    assert CODEC.decode(topic_of(name), encoding) == record
    assert encoding[HEADER_BYTES:] == encode_with_apache(name, record)
    assert decode_with_apache(name, encoding[HEADER_BYTES:]) == record


@pytest.mark.parametrize("name", CLASSES)
@settings(max_examples=cases(40))
@given(data=st.data())
def test_garbled_bytes_are_a_record_or_malformed_and_no_exception(
    name: str, data: st.DataObject
) -> None:
    encoding = CODEC.encode(topic_of(name), data.draw(records(CLASSES[name])))
    assert encoding is not None
    content = bytearray(encoding)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    result = CODEC.decode(topic_of(name), bytes(content))
    assert isinstance(result, (CLASSES[name], MalformedRecord))


_EXTENSIONS = (("interactions.identified", Enriched), ("interactions.enriched", Segmented))


@pytest.mark.parametrize(("source_topic", "record_type"), _EXTENSIONS)
@settings(max_examples=cases(50))
@given(st.data())
def test_record_with_a_new_section_has_the_bytes_of_a_full_encoding(
    source_topic: str, record_type: type[msgspec.Struct], data: st.DataObject
) -> None:
    encoding = CODEC.encode(source_topic, data.draw(records(CLASSES[source_topic])))
    assert encoding is not None
    source_record = CODEC.decode(source_topic, encoding)
    assert not isinstance(source_record, MalformedRecord)
    drawn_record = data.draw(records(record_type))
    passed_fields = {name: getattr(source_record, name) for name in source_record.__struct_fields__}
    value = msgspec.structs.replace(drawn_record, **passed_fields)
    (topic,) = (name for name, kind in CLASSES.items() if kind is record_type)
    for record in (value, drawn_record):
        assert CODEC.extend(topic, record, source_record, encoding) == CODEC.encode(topic, record)


@pytest.mark.parametrize(("source_topic", "record_type"), _EXTENSIONS)
def test_passed_on_bytes_are_reused(source_topic: str, record_type: type[msgspec.Struct]) -> None:
    encoding = CODEC.encode(source_topic, CLASSES[source_topic]())
    assert encoding is not None
    source_record = CODEC.decode(source_topic, encoding)
    assert not isinstance(source_record, MalformedRecord)
    (topic,) = (name for name, kind in CLASSES.items() if kind is record_type)
    extension = CODEC.extend(
        topic, record_type(), source_record, encoding[:HEADER_BYTES] + b"as it came"
    )
    assert extension is not None
    assert extension[HEADER_BYTES:].startswith(b"as it came")
