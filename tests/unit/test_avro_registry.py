"""The registry's answers, as the real product gives them."""

import msgspec
import pytest

from pipeline.adapters.avro import recorded_versions
from pipeline.adapters.avro.registry import Registry
from pipeline.adapters.avro.subjects import CLASSES

REGISTRY = Registry(recorded_versions(), channels=("web", "email"))
PROFILES = next(version for version in recorded_versions() if version.name == "profiles")
ACTIONS = next(version for version in recorded_versions() if version.name == "actions")


def to_text(schema: object) -> str:
    return msgspec.json.encode(schema).decode()


def test_every_topic_has_a_subject() -> None:
    status, subjects = REGISTRY.subjects()
    topics = set(CLASSES) | {"actions.web", "actions.email", "probes"}
    assert (status, set(subjects)) == (200, {f"{topic}-value" for topic in topics})


def test_schema_is_found_by_its_id() -> None:
    status, body = REGISTRY.schema(str(PROFILES.id))
    assert status == 200
    assert msgspec.json.decode(body["schema"]) == PROFILES.schema


@pytest.mark.parametrize("schema_id", ["0", "-1", "999", "x", "٣", "1" * 10_000, ""])
def test_schema_of_an_unknown_id_is_not_found(schema_id: str) -> None:
    status, body = REGISTRY.schema(schema_id)
    assert (status, body["error_code"]) == (404, 40403)


@pytest.mark.parametrize("number", ["1", "latest", "-1"])
def test_version_is_found_by_number_or_as_the_latest(number: str) -> None:
    assert REGISTRY.version("profiles-value", number) == (
        200,
        {
            "subject": "profiles-value",
            "version": 1,
            "id": PROFILES.id,
            "schema": to_text(PROFILES.schema),
        },
    )


def test_versions_of_a_subject_are_listed() -> None:
    assert REGISTRY.versions("profiles-value") == (200, [1])


def test_all_channels_share_an_id() -> None:
    ids = {REGISTRY.version(f"actions.{c}-value", "latest")[1]["id"] for c in ("web", "email")}
    assert ids == {ACTIONS.id}


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [("2", 404, 40402), ("0", 422, 42202), ("x", 422, 42202), (str(2**31), 422, 42202)],
)
def test_unknown_version_has_confluents_error_code(number: str, status: int, code: int) -> None:
    answer = REGISTRY.version("profiles-value", number)
    assert (answer[0], answer[1]["error_code"]) == (status, code)


@pytest.mark.parametrize("name", ["profiles", "profiles-key", "actions.sms-value", "", "-value"])
def test_unknown_subject_is_not_found(name: str) -> None:
    for answer in (
        REGISTRY.versions(name),
        REGISTRY.version(name, "latest"),
        REGISTRY.look_up(name, b"{}"),
    ):
        assert answer == (404, {"error_code": 40401, "message": f"Subject '{name}' not found."})


def look_up(schema: str) -> tuple[int, dict[str, object]]:
    return REGISTRY.look_up("profiles-value", msgspec.json.encode({"schema": schema}))


def test_look_up_finds_a_schema_with_any_spacing() -> None:
    status, body = look_up(msgspec.json.format(to_text(PROFILES.schema)))
    assert (status, body["id"]) == (200, PROFILES.id)


def test_look_up_finds_no_unregistered_schema() -> None:
    status, body = look_up('"string"')
    assert (status, body["error_code"]) == (404, 40403)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"schema": 1}', b'{"schema": "{"}', b"\xff"])
def test_look_up_refuses_a_body_without_a_schema(body: bytes) -> None:
    status, answer = REGISTRY.look_up("profiles-value", body)
    assert (status, answer["error_code"]) == (422, 42201)


def test_registry_is_read_only_and_names_the_changes_it_would_accept() -> None:
    assert REGISTRY.mode() == (200, {"mode": "READONLY"})
    assert REGISTRY.config() == (200, {"compatibilityLevel": "FULL_TRANSITIVE"})
    assert REGISTRY.types() == (200, ["AVRO"])
