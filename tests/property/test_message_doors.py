"""Messages by HTTP, in a file or in Avro are accepted with the same result or refused with a
reason, without exceptions; each message that is answered with 200 is decided."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, get_args

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.metrics import StageMetrics
from agents.ports import Message
from agents.stage import StageShell
from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.config import model
from pipeline.config.compile import Configuration
from pipeline.flow import Flow, stage
from pipeline.intake.messages import Kind
from pipeline.intake.refusal import Refusal
from pipeline.model import topics
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.decision import Decision
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Context, Identifier, Interaction
from pipeline.model.stages import Identified
from pipeline.row_files.row import FileRow
from pipeline.row_files.row_ids import RowIds
from pipeline.row_files.row_intake import RowIntake
from pipeline.rules import Rules
from pipeline.rules.token import TokenKey
from tests.records import records
from tests.support.cases import cases
from tests.support.doorway import MAX_MESSAGE_BYTES, Doorway, configuration, doorway
from tests.support.shells import ONLY_PARTITION, InMemoryPorts, finish, rulebook_of, shared_cache

_KEY: Final = "server-key-1"
_NOW_MS: Final = 1_900_000_000_000
_SHOP: Final = model.Source("shop", "web", _KEY)
_CONFIG: Final = configuration(_SHOP)
_RULES: Final = Rules(_CONFIG, TokenKey("test" * 8), 300_000, (), {})
_CODEC: Final = Codec(recorded_versions())
_DEADLINE: Final = timedelta(seconds=20)
"""Deadline of one case, for a busy machine."""

_TEXT: Final = st.text(max_size=8)
_LEAVES: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    _TEXT,
    st.sampled_from(["", "null", "u1", "a@b.c", "+34600111222", "\ud83d", "a\u0000", "x" * 300]),
)
_ANY_VALUES: Final = st.recursive(
    _LEAVES,
    lambda values: st.one_of(
        st.lists(values, max_size=4), st.dictionaries(_TEXT, values, max_size=4)
    ),
    max_leaves=8,
)
_DETAILS: Final = st.one_of(
    _ANY_VALUES, st.dictionaries(st.sampled_from(["a", "a.b", "b", "email", "phone"]), _ANY_VALUES)
)
_IDS: Final = st.one_of(st.sampled_from(["u1", "u2", 7, 7.0, "-", "test"]), _LEAVES)


@st.composite
def _contexts(draw: st.DrawFn) -> object:
    names = ["ip", "userAgent", "locale", "timezone", "page", "campaign", "consent", "traits"]
    context = draw(st.dictionaries(st.sampled_from([*names, "externalIds", "device"]), _DETAILS))
    if draw(st.booleans()):
        context["externalIds"] = [
            {"type": draw(st.sampled_from(["device", "nonesuch"])), "id": draw(_IDS)}
        ]
    return draw(st.one_of(st.just(context), _ANY_VALUES))


@st.composite
def _messages(draw: st.DrawFn) -> dict[str, Any]:
    """Draw mostly valid messages, so that faults occur one at a time."""
    fields = {
        "messageId": st.one_of(st.none(), st.just("m1"), _LEAVES),
        "userId": _IDS,
        "anonymousId": _IDS,
        "previousId": _IDS,
        "groupId": _IDS,
        "event": st.one_of(st.just("Viewed"), _LEAVES),
        "name": st.one_of(st.none(), _TEXT, _LEAVES),
        "properties": _DETAILS,
        "traits": _DETAILS,
        "context": _contexts(),
        "timestamp": st.one_of(st.just("2024-01-31T12:00:00Z"), _LEAVES),
        "originalTimestamp": st.one_of(st.none(), _LEAVES),
        "sentAt": st.one_of(st.none(), _LEAVES),
        "nonesuch": _ANY_VALUES,
    }
    names = draw(st.sets(st.sampled_from(sorted(fields)), max_size=7))
    message = {name: draw(fields[name]) for name in sorted(names)}
    return {
        "type": draw(st.sampled_from(get_args(Kind))),
        "event": "Viewed",
        "userId": "u1",
    } | message


def _bytes_of(message: object) -> bytes:
    """Return the bytes as Python's and JavaScript's encoders write half surrogates and NaN."""
    return json.dumps(message).encode()


@contextmanager
def _door(config: Configuration = _CONFIG) -> Iterator[Doorway]:
    with TemporaryDirectory() as folder:
        yield doorway(config, Path(folder))


def _post(door: Doorway, path: str, content: bytes) -> httpx.Response:
    async def send() -> httpx.Response:
        async with door.client(_KEY) as client:
            return await client.post(path, content=content)

    return asyncio.run(send())


def _take_in_from_file(raw: bytes) -> Interaction | Refusal:
    return RowIntake(_CONFIG, _SHOP, MAX_MESSAGE_BYTES, _NOW_MS, RowIds("f")).take_in(
        FileRow(1, raw, 0)
    )


def _remove_intake_fields(interaction: Interaction) -> Interaction:
    """Return the interaction without the fields that differ by way in: time of receipt and sender's
    address."""
    return replace(
        interaction, received_at=0, occurred_at=0, context=replace(interaction.context, ip=None)
    )


@settings(max_examples=cases(150), deadline=_DEADLINE)
@given(_messages())
def test_http_and_file_intake_give_the_same_result_for_a_message(message: dict[str, Any]) -> None:
    message = {"messageId": "m1", **message}
    raw = _bytes_of(message)
    with _door() as door:
        answer = _post(door, f"/v1/{message['type']}", raw)
        file_result = _take_in_from_file(raw)
        if answer.status_code == 200:
            [http_interaction] = door.interactions()
            assert isinstance(file_result, Interaction), file_result
            # Ids that are missing are made differently by HTTP and from a file.
            if http_interaction.event_id != file_result.event_id:
                http_interaction = replace(http_interaction, event_id=file_result.event_id)
                assert not str(message["messageId"] or "").strip()
            assert _remove_intake_fields(http_interaction) == _remove_intake_fields(file_result)
            _check_decision(http_interaction)
        else:
            assert answer.status_code == 400, answer.text
            error = answer.json()["error"]
            assert error["code"]
            assert error["message"]
            assert isinstance(file_result, Refusal), file_result
            assert (file_result.code, file_result.field) == (error["code"], error["field"])


@settings(max_examples=cases(75), deadline=_DEADLINE)
@given(st.lists(st.one_of(_messages(), _ANY_VALUES), min_size=1, max_size=5), _contexts())
def test_each_item_of_a_batch_is_taken_or_refused_independently(
    items: list[object], context: object
) -> None:
    with _door() as door:
        answer = _post(door, "/v1/batch", _bytes_of({"batch": items, "context": context}))
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 400 and "rejected" not in answer.json():
            return  # the envelope itself is refused
        refused_indices = {item["index"] for item in answer.json().get("rejected", ())}
        interactions = door.interactions()
        assert len(interactions) == len(items) - len(refused_indices)
        letters = [record for record in door.log.records if record.topic == topics.DEAD_LETTERS]
        assert len(letters) == len(refused_indices)
        for interaction in interactions:
            _check_decision(interaction)


@settings(max_examples=cases(150), deadline=_DEADLINE)
@given(_messages(), st.data())
def test_broken_bytes_are_refused_and_never_an_exception(
    message: dict[str, Any], data: st.DataObject
) -> None:
    raw = _damage(_bytes_of(message), data)
    with _door() as door:
        for path, content in (("/v1/track", raw), ("/v1/batch", b'{"batch": [%s]}' % raw)):
            door.log.records.clear()
            answer = _post(door, path, content)
            assert answer.status_code in (200, 400), answer.text
            assert (answer.status_code == 200) is bool(door.interactions())


def _damage(raw: bytes, data: st.DataObject) -> bytes:
    start = data.draw(st.integers(0, len(raw)))
    cut_length = data.draw(st.integers(0, 5))
    return raw[:start] + data.draw(st.binary(max_size=5)) + raw[start + cut_length :]


def _check_decision(interaction: Interaction) -> None:
    """Check that an accepted message goes through all four stages, and is decided once."""
    flow = Flow(_RULES)
    values = [emit.value for emit in flow.run(interaction)]
    assert not flow.dead_letters
    outputs = [
        value for value in values if isinstance(value, Identified) and value.interaction is not None
    ]
    assert len(outputs) == sum(isinstance(value, Decision) for value in values) == 1


class _UpstreamIdentityStage:
    """Identity stage, fed with records of other apps."""

    def __init__(self) -> None:
        self._ports = InMemoryPorts()
        metrics = StageMetrics("identity")
        parts = (shared_cache(_CODEC), rulebook_of(_RULES), metrics)
        self._shell = StageShell(stage("identity"), self._ports, *parts)
        self._offset = 0

    def process(self, key: bytes, value: bytes | None) -> list[object]:
        """Process a record and those that it is redirected as; return the other outputs."""
        outputs: list[object] = []
        pending_records = [(key, value)]
        while pending_records:
            key, value = pending_records.pop()
            offset, self._offset = self._offset, self._offset + 1
            message = Message(topics.INTERACTIONS, ONLY_PARTITION, offset, _NOW_MS, key, value, ())
            finish(self._shell.handle(message))
            sent_records, self._ports.outputs = self._ports.outputs, []
            for emit in sent_records:
                if emit.topic == topics.INTERACTIONS:
                    pending_records.append((emit.key or b"", emit.value))
                else:
                    outputs.append(_CODEC.decode(emit.topic, emit.value or b""))
        assert self._offset < 4, "redirected in a circle"
        return outputs


def _check_outputs(outputs: list[object]) -> None:
    """Check that the record went on once, or is a dead letter with a foreseen reason."""
    letters = [record for record in outputs if isinstance(record, DeadLetterRecord)]
    records = [record for record in outputs if isinstance(record, Identified)]
    assert len(records) + len(letters) == 1
    assert all(letter.reason != "exception" and letter.detail for letter in letters), letters
    assert all(isinstance(record, (*_OTHER_OUTPUTS, Identified)) for record in outputs)


_OTHER_OUTPUTS: Final = (DeadLetterRecord, IdentityChange)


@settings(max_examples=cases(200), deadline=_DEADLINE)
@given(
    records(Interaction),
    st.lists(
        st.builds(
            Identifier,
            st.sampled_from(
                [namespace.name for namespace in _CONFIG.bundle.identity.namespaces] + ["other"]
            ),
            st.one_of(_TEXT.filter(lambda text: text.isascii()), st.sampled_from(["u1", " A@b.c"])),
        ),
        max_size=4,
    ),
    st.integers(-(10**6), 10**6),
)
def test_record_in_avro_goes_on_once_or_is_a_dead_letter(
    interaction: Interaction, names: list[Identifier], offset_ms: int
) -> None:
    interaction = replace(
        interaction, identifiers=tuple(names), occurred_at=_NOW_MS + offset_ms, received_at=_NOW_MS
    )
    key = names[-1].key if names else ""
    _check_outputs(
        _UpstreamIdentityStage().process(
            key.encode(), _CODEC.encode(topics.INTERACTIONS, interaction)
        )
    )


@settings(max_examples=cases(200), deadline=_DEADLINE)
@given(records(Interaction), st.data())
def test_broken_avro_is_a_dead_letter_or_another_record(
    interaction: Interaction, data: st.DataObject
) -> None:
    value = _CODEC.encode(topics.INTERACTIONS, interaction)
    assert value is not None
    key = data.draw(st.binary(max_size=12))
    _check_outputs(_UpstreamIdentityStage().process(key, _damage(value, data)))


_NAMES: Final[Mapping[str, str]] = {
    "userId": "customer_id",
    "anonymousId": "cookie",
    "email": "email",
    "device": "device",
}
_VALUES: Final = st.sampled_from(
    ["U1", " u2 ", "0042", "guest", "", "-", "Ada@X.org", "no-reply@x.org"]
)


@settings(max_examples=cases(150), deadline=_DEADLINE)
@given(
    st.sampled_from(["track", "page", "identify"]),
    st.dictionaries(st.sampled_from(sorted(_NAMES)), _VALUES, min_size=1),
    st.dictionaries(st.sampled_from(["total", "sku"]), st.one_of(st.integers(0, 9), _TEXT)),
)
def test_identity_writes_the_same_interaction_from_every_way_in(
    kind: Kind, ids: dict[str, str], fields: dict[str, Any]
) -> None:
    fields = {name: value for name, value in fields.items() if value == _replace_surrogates(value)}
    raw = _bytes_of(_segment_message(kind, ids, fields))
    with _door() as door:
        is_accepted = _post(door, f"/v1/{kind}", raw).status_code == 200
        http_interactions = door.interactions()
    file_result = _take_in_from_file(raw)
    upstream_interaction = _upstream_interaction(kind, ids, fields)
    data = _CODEC.encode(topics.INTERACTIONS, upstream_interaction)
    avro_interactions = _outputs_of_identity(
        _UpstreamIdentityStage().process(upstream_interaction.identifiers[0].key.encode(), data)
    )
    assert is_accepted is isinstance(file_result, Interaction) is bool(avro_interactions)
    if isinstance(file_result, Interaction):
        for interaction in (http_interactions[0], file_result):
            key = interaction.identifiers[0].key.encode()
            # the gateway stamps its clock's time
            stamped_interaction = replace(interaction, received_at=_NOW_MS)
            value = _CODEC.encode(topics.INTERACTIONS, stamped_interaction)
            assert (
                _outputs_of_identity(_UpstreamIdentityStage().process(key, value))
                == avro_interactions
            )


def _segment_message(kind: Kind, ids: dict[str, str], fields: dict[str, Any]) -> dict[str, Any]:
    traits = {"email": ids["email"]} if "email" in ids else {}
    return {
        "type": kind,
        "messageId": "m1",
        "timestamp": "2024-01-31T12:00:00Z",
        ("event" if kind == "track" else "name"): "Viewed",
        **{name: ids[name] for name in ("userId", "anonymousId") if name in ids},
        "traits" if kind == "identify" else "properties": {
            **fields,
            **(traits if kind == "identify" else {}),
        },
        "context": {
            "ip": "192.0.2.7",
            "traits": traits,
            **({"device": {"id": ids["device"]}} if "device" in ids else {}),
        },
    }


def _upstream_interaction(kind: Kind, ids: dict[str, str], fields: dict[str, Any]) -> Interaction:
    traits = {"email": ids["email"]} if "email" in ids else {}
    return Interaction(
        event_id="m1",
        kind=kind,
        name="identify" if kind == "identify" else "Viewed",
        channel="web",
        source="shop",
        occurred_at=1_706_702_400_000,
        received_at=_NOW_MS,
        identifiers=tuple(Identifier(_NAMES[name], value) for name, value in sorted(ids.items())),
        properties={**fields, **(traits if kind == "identify" else {})},
        context=Context(ip="192.0.2.7"),
    )


def _replace_surrogates(value: object) -> object:
    return value if not isinstance(value, str) else value.encode(errors="replace").decode()


def _outputs_of_identity(outputs: list[object]) -> list[Interaction]:
    return [
        record.interaction
        for record in outputs
        if isinstance(record, Identified) and record.interaction is not None
    ]
