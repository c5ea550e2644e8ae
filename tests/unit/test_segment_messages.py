"""Meaning of Segment's messages: their customers, context, times and traits."""

from typing import Any, Final, get_args

import pytest
from msgspec import json
from msgspec.structs import replace

from pipeline.config import model
from pipeline.config.aggregates import aggregates_of
from pipeline.config.compile import Configuration
from pipeline.flow import Flow
from pipeline.intake.decoding import decode
from pipeline.intake.messages import BATCH_DECODER, MESSAGE_DECODER, Kind, SegmentMessage
from pipeline.intake.refusal import Refusal
from pipeline.intake.segment_api import Arrival, add_batch_fields, interaction
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Context, Identifier, Interaction
from pipeline.model.profile import Profile
from pipeline.model.stages import Identified
from pipeline.model.time import MINUTE_MS
from tests.support.doorway import configuration
from tests.support.worlds import plain_rules

_NOW_MS: Final = 1_800_000_000_000
_SOURCE: Final = model.Source("shop", "web", "write-key-1")
_CONFIG: Final = configuration(_SOURCE)


def read(
    kind: Kind, fields: dict[str, Any], config: Configuration = _CONFIG
) -> Interaction | Refusal:
    message = decode(json.encode(fields), MESSAGE_DECODER)
    if isinstance(message, Refusal):
        return message
    return interaction(message, kind, Arrival(_SOURCE, config, _NOW_MS))


def take(kind: Kind, **fields: Any) -> Interaction:
    result = read(kind, {"event": "Viewed", **fields})
    assert isinstance(result, Interaction), result
    return result


def keys(kind: Kind, **fields: Any) -> list[str]:
    return [identifier.key for identifier in take(kind, **fields).identifiers]


def context(**fields: Any) -> Context:
    return take("track", userId="u1", context=fields).context


@pytest.mark.parametrize(
    "useless_id",
    [
        *("", "  ", "null", '"null"', "'undefined'", "[object Object]", "{object Object}"),
        *("(none)", "TRUE", False, "Guest", "-", "--", "?", "N/A", "#N/A", "NaN", "Unknown "),
        *("test", "ANON", "0", "000", "0000-0000", 0, -1, "(not set)", "x" * 2_000),
        *("00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"),
        *("9774D56D682E549C", "a\u0000b", "a\nb", "a\ufffd", {}, [], ["u1"], {"id": "u1"}),
        *(1.5, 1e300),
    ],
)
@pytest.mark.parametrize("field", ["userId", "anonymousId"])
def test_useless_id_is_left_out_beside_a_good_one(field: str, useless_id: object) -> None:
    other_field = "anonymousId" if field == "userId" else "userId"
    good_key = {"userId": "customer_id:good", "anonymousId": "cookie:good"}[other_field]
    assert keys("track", **{field: useless_id, other_field: "good"}) == [good_key]
    refusal = read("track", {"event": "Viewed", field: useless_id})
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == ("invalid_identifier", field)


@pytest.mark.parametrize(
    "address",
    [
        *("noreply@shop.es", "no-reply@shop.es", "Do.Not.Reply@x.org", "undefined@undefined"),
        *("null@null.com", "noemail@till.example", "anonymous@shop.es"),
    ],
)
def test_address_that_nobody_reads_identifies_nobody(address: str) -> None:
    assert keys("identify", userId="u1", traits={"email": address}) == ["customer_id:u1"]


@pytest.mark.parametrize("address", ["nora@shop.es", "reply@shop.es", "nan.goldin@x.org"])
def test_personal_address_identifies_its_owner(address: str) -> None:
    assert f"email:{address}" in keys("identify", userId="u1", traits={"email": address})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((42, "42"), (42.0, "42"), (-7, "-7"), ("0042", "0042"), (" u1 ", "u1")),
        (12345678901234567890, "12345678901234567890"),
    ],
)
def test_number_and_text_of_digits_are_ids(value: object, expected: str) -> None:
    assert keys("track", userId=value) == [f"customer_id:{expected}"]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_traits_of_a_group_are_no_customers(kind: Kind) -> None:
    company = {"email": "info@acme.example", "phone": "+34600111222"}
    trait_keys = ["email:info@acme.example", "phone:+34600111222"]
    assert keys(kind, anonymousId="a1", traits=company) == [
        *([] if kind == "group" else trait_keys),
        "cookie:a1",
    ]
    person = {"traits": {"email": "ada@x.org"}}
    assert keys(kind, anonymousId="a1", traits={}, context=person) == [
        "email:ada@x.org",
        "cookie:a1",
    ]


def test_external_ids_of_other_types_identify_nobody() -> None:
    external_ids = [
        {"type": "device", "id": 7, "collection": "users"},
        {"type": "device", "id": "of an account", "collection": "accounts"},
        {"type": "unheard-of", "id": "x"},
        {"id": "without a type"},
        "no object",
    ]
    assert keys("track", anonymousId="a1", context={"externalIds": external_ids}) == [
        "device:7",
        "cookie:a1",
    ]


def test_email_that_is_no_text_is_no_identifier() -> None:
    for email in ({"a": "x@y.org"}, ["x@y.org"], True, None):
        assert keys("identify", userId="u1", traits={"email": email}) == ["customer_id:u1"]


def _identify(*messages: tuple[Kind, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the identifiers of each message, as identity passes it on after the earlier ones."""
    rules = plain_rules()
    flow = Flow(rules)
    customers: list[tuple[str, ...]] = []
    for number, (kind, fields) in enumerate(messages):
        message = read(kind, {"event": "Viewed", "messageId": f"m{number}", **fields}, rules.config)
        assert isinstance(message, Interaction), message
        emits = [emit.value for emit in flow.run(message)]
        customers += [
            tuple(name.key for name in value.interaction.identifiers)
            for value in emits
            if isinstance(value, Identified) and value.interaction is not None
        ]
    assert not flow.dead_letters
    return customers


def _persons(*messages: tuple[Kind, dict[str, Any]]) -> dict[str, str]:
    """Return every identifier that the messages have, with the strongest of its person."""
    rules = plain_rules()
    flow = Flow(rules)
    roots: dict[str, str] = {}
    for number, (kind, fields) in enumerate(messages):
        message = read(kind, {"event": "Viewed", "messageId": f"m{number}", **fields}, rules.config)
        assert isinstance(message, Interaction), message
        for emit in flow.run(message):
            if isinstance(emit.value, IdentityChange) and emit.value.kind == "resolved":
                roots[emit.value.identifier] = str(emit.value.root)
    assert not flow.dead_letters
    return roots


@pytest.mark.parametrize("user", ["zoe", "42", "ann", "b"])
def test_previous_id_of_an_alias_has_its_known_namespace(user: str) -> None:
    cookie = ("track", {"anonymousId": "anon-123"})
    alias = ("alias", {"userId": user, "previousId": "anon-123"})
    root = f"customer_id:{user}"
    assert _persons(cookie, alias) == {"cookie:anon-123": root, root: root}
    cookie_fields = {"anonymousId": "c-9"}
    assert _persons(("track", cookie_fields), ("alias", {**alias[1], **cookie_fields}), cookie)[
        "cookie:c-9"
    ] in (root, "customer_id:anon-123")


@pytest.mark.parametrize(("user", "previous_user"), [("42", "41"), ("41", "42"), ("zoe", "ann")])
@pytest.mark.parametrize("is_known", [True, False])
def test_alias_of_two_customers_makes_them_one(
    user: str, previous_user: str, is_known: bool
) -> None:
    customers = [("track", {"userId": name}) for name in (user, previous_user)] if is_known else []
    alias = ("alias", {"userId": user, "previousId": previous_user})
    both_names = {f"customer_id:{name}" for name in (user, previous_user)}
    assert _persons(*customers, alias) == dict.fromkeys(both_names, min(both_names))


def test_alias_may_state_the_namespace_of_its_previous_id() -> None:
    assert _identify(
        ("alias", {"userId": "zoe", "previousId": "anon-9", "anonymousId": "anon-9"})
    ) == [("customer_id:zoe", "cookie:anon-9")]
    assert _identify(("alias", {"userId": 42, "previousId": "42"})) == [("customer_id:42",)]


def test_alias_without_a_customer_is_refused() -> None:
    for fields, field in (({}, "userId"), ({"userId": "guest"}, "userId")):
        refusal = read("alias", {"previousId": "anon-123", **fields})
        assert isinstance(refusal, Refusal)
        assert refusal.field == field


def test_previous_id_of_an_identify_is_ignored() -> None:
    assert keys("identify", userId="u1", previousId="u2") == ["customer_id:u1"]


def _merge_batch(message: dict[str, Any], **batch_fields: Any) -> SegmentMessage:
    batch = decode(json.encode({"batch": [], **batch_fields}), BATCH_DECODER)
    record = decode(json.encode(message), MESSAGE_DECODER)
    assert not isinstance(batch, Refusal)
    assert not isinstance(record, Refusal)
    return add_batch_fields(record, batch)


def test_context_of_a_batch_is_merged_into_that_of_each_message() -> None:
    message = {
        "userId": "u1",
        "event": "Viewed",
        "context": {"page": {"url": "https://own", "title": None}, "ip": None, "locale": "es"},
    }
    batch_fields = {
        "ip": "192.0.2.7",
        "locale": "en",
        "timezone": "Europe/Madrid",
        "page": {"url": "https://shared", "referrer": "https://before"},
        "traits": {"email": "ada@x.org"},
    }
    result = interaction(
        _merge_batch(message, context=batch_fields), "track", Arrival(_SOURCE, _CONFIG, _NOW_MS)
    )
    assert isinstance(result, Interaction)
    assert result.context == Context(
        ip="192.0.2.7",
        url="https://own",
        referrer="https://before",
        locale="es",
        timezone="Europe/Madrid",
    )
    assert [identifier.key for identifier in result.identifiers] == [
        "customer_id:u1",
        "email:ada@x.org",
    ]


def test_contexts_are_merged_at_any_depth() -> None:
    message = {
        "userId": "u1",
        "traits": {},
        "context": {
            "consent": {"categoryPreferences": {"Analytics": False, "Sale": None}},
            "traits": {"home": {"city": "Bilbao", "zip": None}},
        },
    }
    batch_fields = {
        "consent": {"categoryPreferences": {"Advertising": True, "Sale": False}},
        "traits": {"home": {"city": "Leon", "zip": 1, "geo": {"lat": 43}}},
    }
    result = interaction(
        _merge_batch(message, context=batch_fields), "identify", Arrival(_SOURCE, _CONFIG, _NOW_MS)
    )
    assert isinstance(result, Interaction)
    assert result.context.consent == {"Advertising": True, "Analytics": False, "Sale": False}
    assert result.properties == {"home.city": "Bilbao", "home.zip": None, "home.geo.lat": 43}


@pytest.mark.parametrize("blank_context", [None, [], {}, "text", 7])
def test_empty_context_leaves_that_of_the_batch(blank_context: object) -> None:
    message = {"userId": "u1", "event": "Viewed", "context": blank_context}
    merged_message = _merge_batch(message, context={"locale": "es"})
    result = interaction(merged_message, "track", Arrival(_SOURCE, _CONFIG, _NOW_MS))
    assert isinstance(result, Interaction)
    assert result.context.locale == "es"


@pytest.mark.parametrize(
    ("context_traits", "own_traits", "expected"),
    [
        ({"home": {"city": "A", "zip": 1}}, {"home": {"city": "B"}}, {"city": "B", "zip": 1}),
        ({"home.city": "A", "home.zip": 1}, {"home": {"city": "B"}}, {"city": "B", "zip": 1}),
        ({"home": {"city": "A", "zip": 1}}, {"home.city": None}, {"city": None, "zip": 1}),
    ],
)
def test_traits_of_message_and_context_are_merged_name_by_name(
    context_traits: dict[str, Any], own_traits: dict[str, Any], expected: dict[str, Any]
) -> None:
    message = take("identify", userId="u1", traits=own_traits, context={"traits": context_traits})
    assert message.properties == {f"home.{name}": value for name, value in expected.items()}


@pytest.mark.parametrize("whole_value", [None, "Calle Mayor 1", ["Calle Mayor 1"]])
def test_own_trait_replaces_its_parts_of_the_context(whole_value: object) -> None:
    context_traits = {"home": {"city": "A"}, "home.length": 7, "homes": 2}
    message = take(
        "identify", userId="u1", traits={"home": whole_value}, context={"traits": context_traits}
    )
    assert set(message.properties) | set(message.lists) == {"home", "homes"}


def test_trait_of_the_context_names_its_place_when_it_is_refused() -> None:
    for traits in ({"a.b": 1, "a": {"b": 2}}, {"a.b": "x" * 20_000}):
        refusal = read("identify", {"userId": "u1", "context": {"traits": traits}})
        assert isinstance(refusal, Refusal)
        assert refusal.field == "context.traits.a.b"
    own_traits = {f"t{number}": number for number in range(200)}
    context_traits = {f"u{number}": number for number in range(200)}
    refusal = read(
        "identify", {"userId": "u1", "traits": own_traits, "context": {"traits": context_traits}}
    )
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == ("too_many_properties", "traits")


def test_own_traits_of_identify_precede_those_of_its_context() -> None:
    context_traits = {"plan": "free", "city": "Bilbao", "old": 1}
    identify = take(
        "identify",
        userId="u1",
        traits={"plan": "gold", "old": None},
        context={"traits": context_traits},
    )
    assert identify.properties == {"plan": "gold", "city": "Bilbao", "old": None}
    for kind in ("track", "page", "screen", "group", "alias"):
        assert "city" not in take(kind, userId="u1", context={"traits": context_traits}).properties


@pytest.mark.parametrize("invalid_value", [7, True, None, [], {}, ["es"], {"a": "b"}])
@pytest.mark.parametrize("name", ["ip", "userAgent", "locale", "timezone", "page", "campaign"])
def test_context_field_of_the_wrong_type_is_left_out_alone(
    name: str, invalid_value: object
) -> None:
    fields = {
        "ip": "192.0.2.7",
        "userAgent": "agent",
        "locale": "es",
        "timezone": "Europe/Madrid",
        "page": {"url": "https://x", "referrer": "https://y"},
        "campaign": {"name": "spring"},
        "consent": {"categoryPreferences": {"ads": True, "mail": "yes", "sms": None}},
    }
    expected_changes: dict[str, Any] = {
        "page": {"url": None, "referrer": None},
        "campaign": {"campaign": {"a": "b"} if invalid_value == {"a": "b"} else {}},
        "userAgent": {"user_agent": None},
    }
    assert context(**{**fields, name: invalid_value}) == replace(
        context(**fields), **expected_changes.get(name, {name: None})
    )
    assert context(**fields).consent == {"ads": True}


def test_null_and_objects_are_no_campaign_tags() -> None:
    tags = {"medium": None, "name": {"a": 1}, "term": ["x"], "source": "mail", "content": 7.0}
    assert context(campaign=tags).campaign == {"source": "mail", "content": "7"}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_empty_list_is_read_as_the_empty_object_of_php(kind: Kind) -> None:
    message = take(kind, userId="u1", properties=[], traits=[], context=[])
    assert (message.properties, message.lists) == ({}, {})


@pytest.mark.parametrize("invalid_value", ["text", 7, True, [1]])
def test_properties_that_are_no_object_are_refused_by_name(invalid_value: object) -> None:
    for kind, field in (("track", "properties"), ("identify", "traits"), ("group", "traits")):
        refusal = read(kind, {"event": "Viewed", "userId": "u1", field: invalid_value})
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.field) == ("invalid_field", field)


@pytest.mark.parametrize("name", ["timestamp", "originalTimestamp"])
def test_time_is_corrected_by_the_clock_of_the_sender(name: str) -> None:
    times = {name: _NOW_MS + 50 * MINUTE_MS, "sentAt": _NOW_MS + 52 * MINUTE_MS}
    assert take("track", userId="u1", **times).occurred_at == _NOW_MS - 2 * MINUTE_MS


def test_time_that_was_corrected_on_the_way_is_not_corrected_again() -> None:
    times = {
        "timestamp": _NOW_MS - 60 * MINUTE_MS,
        "originalTimestamp": _NOW_MS - 90 * MINUTE_MS,
        "sentAt": _NOW_MS - 80 * MINUTE_MS,
    }
    assert take("track", userId="u1", **times).occurred_at == _NOW_MS - 60 * MINUTE_MS


@pytest.mark.parametrize("blank_id", [None, "", " \t"])
def test_blank_message_id_is_replaced_by_a_new_one(blank_id: str | None) -> None:
    message, other_message = (take("track", userId="u1", messageId=blank_id) for _ in range(2))
    assert message.event_id.strip()
    assert message.event_id != other_message.event_id


def test_alias_of_a_customers_own_two_names_is_accepted() -> None:
    # Such an alias comes over Avro, too.
    names = (Identifier("customer_id", "c"), Identifier("cookie", "c"))
    interaction = Interaction("e", "alias", "alias", "web", "shop", _NOW_MS, _NOW_MS, names)
    outputs = [emit.value for emit in Flow(plain_rules()).run(interaction)]
    [identified_interaction] = [
        value.interaction
        for value in outputs
        if isinstance(value, Identified) and value.interaction is not None
    ]
    assert identified_interaction.identifiers == names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rb"cut \ud83d", "cut \ufffd"),
        (rb"\uDE00 late", "\ufffd late"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\uD83D\uDE00", "\U0001f600"),
        (rb"\ud83d\u0041", "\ufffdA"),
        (rb"\\ud83d", r"\ud83d"),
        (rb"\\\ud83d\\", "\\\ufffd\\"),
    ],
)
def test_half_a_surrogate_pair_is_an_unreadable_character(text: bytes, expected: str) -> None:
    raw = b'{"event": "Viewed", "userId": "u1", "properties": {"text": "%s"}}' % text
    message = decode(raw, MESSAGE_DECODER)
    assert isinstance(message, SegmentMessage), message
    assert message.properties == {"text": expected}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"a.b": 1, "a": {"b": 2}}, "a.b"),
        ({"a": {"b": 2}, "a.b": 1}, "a.b"),
        ({"a": {"b.c": 1, "b": {"c": "1"}}}, "a.b.c"),
        ({"a.b": [1, 2], "a": {"b": 1}}, "a.b"),
        ({"a.b": None, "a": {"b": 0}}, "a.b"),
        ({"a.b": 1, "a": {"b": True}}, "a.b"),
    ],
)
def test_names_that_collide_are_refused_by_name(fields: dict[str, Any], name: str) -> None:
    for kind, field in (("track", "properties"), ("identify", "traits"), ("group", "traits")):
        refusal = read(kind, {"event": "Viewed", "userId": "u1", field: fields})
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.field) == ("ambiguous_name", f"{field}.{name}")


def test_names_that_collide_with_equal_values_lose_nothing() -> None:
    message = take("track", userId="u1", properties={"a.b": 1, "a": {"b": 1}, "c": {"b": [2]}})
    assert (message.properties, message.lists) == ({"a.b": 1}, {"c.b": ("2",)})


def _latest_pages(*messages: dict[str, Any], kind: Kind = "identify") -> list[object]:
    """Return the trait `last_page` after each message. A message is a minute newer than the one
    before, unless it states another `minute`."""
    rules = plain_rules()
    flow = Flow(rules)
    pages = []
    for number, fields in enumerate(messages):
        minute = fields.pop("minute", number)
        message = read(
            kind,
            {"event": "x", "messageId": f"m{number}", "userId": "u1", **fields},
            rules.config,
        )
        assert isinstance(message, Interaction), message
        emits = list(flow.run(replace(message, occurred_at=_NOW_MS - (9 - minute) * MINUTE_MS)))
        [profile] = [emit.value for emit in emits if isinstance(emit.value, Profile)]
        pages.append(profile.traits.get("last_page"))
    return pages


def test_null_clears_a_trait_in_the_order_of_time() -> None:
    page_fields, null_fields = {"traits": {"page": "a"}}, {"traits": {"page": None}}
    assert _latest_pages(page_fields, null_fields, {"traits": {"page": "b"}}) == ["a", None, "b"]
    assert _latest_pages({**null_fields, "minute": 5}, {**page_fields, "minute": 1}) == [None, None]
    assert _latest_pages({**null_fields, "minute": 1}, {**page_fields, "minute": 5}) == [None, "a"]
    assert _latest_pages(page_fields, {"traits": {}}, {"traits": {"other": None}}) == [
        "a",
        "a",
        "a",
    ]


def test_null_in_a_track_clears_nothing() -> None:
    page_fields, null_fields = {"properties": {"page": "a"}}, {"properties": {"page": None}}
    assert _latest_pages(page_fields, null_fields, kind="track") == ["a", "a"]


def test_null_for_an_object_clears_its_fields() -> None:
    trait = model.TraitDefinition("city", "latest", of="properties.address.city")
    [aggregate] = aggregates_of(trait)
    assert aggregate.clears is not None
    for traits, is_cleared in (
        ({"address": None}, True),
        ({"address": {"city": None}}, True),
        ({"address": {"street": None}}, False),
        ({"city": None}, False),
    ):
        assert aggregate.clears(take("identify", userId="u1", traits=traits)) is is_cleared
