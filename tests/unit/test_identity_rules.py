"""Rules of identity.yaml: spellings of one identifier are normalised to one value, and unusable
identifiers are refused."""

import pytest

from pipeline.config import model
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.config.identity import IdentityRules
from pipeline.model.interaction import Identifier

_NAMESPACES = (
    model.Namespace("customer_id"),
    model.Namespace("email", "email"),
    model.Namespace("phone", "phone"),
    model.Namespace("code", "lower"),
    model.Namespace("raw", "none"),
)


def bundle(identity: model.Identity) -> model.Bundle:
    return model.Bundle(
        sources=model.Sources((model.Source("shop", "web", "write-key-1"),)),
        identity=identity,
        channels=model.Channels((model.Channel("web"),)),
    )


def rules(**settings: object) -> IdentityRules:
    identity = model.Identity(_NAMESPACES, user_id="customer_id", anonymous_id="raw", **settings)  # type: ignore[arg-type]
    configuration = compile_bundle(bundle(identity))
    assert isinstance(configuration, Configuration), configuration
    return configuration.identity


SPANISH_RULES = rules(
    phone_region="ES", blocked_patterns=("test.*@example[.]com", "x+", "[+]34600000000")
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("email: Ada@Example.COM ", "email:ada@example.com"),
        ("phone:600 11-12.22", "phone:+34600111222"),
        ("phone:+34 600 111 222", "phone:+34600111222"),
        ("phone:0034600111222", "phone:+34600111222"),
        ("phone:+44 20 7946 0958", "phone:+442079460958"),
        ("code: AbC ", "code:abc"),
        ("customer_id: AbC ", "customer_id:AbC"),
        ("raw: AbC ", "raw: AbC "),
    ],
)
def test_normalisation_gives_one_spelling_and_is_idempotent(text: str, expected: str) -> None:
    identifier = SPANISH_RULES.normalise(Identifier.parse(text))
    assert identifier == Identifier.parse(expected)
    assert SPANISH_RULES.normalise(identifier) == identifier


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *((f"customer_id:{value}", "identifies no person") for value in ("null", " NULL ", "0")),
        *((f"raw:{value}", "identifies no person") for value in ("undefined", "Anonymous", "  ")),
        ("email:Test.7@Example.com", "identifies no person"),
        ("customer_id:XXXX", "identifies no person"),
        ("phone:600 000 000", "identifies no person"),
        ("email:ada", "is not a valid email"),
        ("email:ada @example.com", "is not a valid email"),
        ("email:@example.com", "is not a valid email"),
        ("phone:call me", "is not a valid phone"),
        ("phone:12", "is not a valid phone"),
        ("customer_id:" + "x" * 1025, "longer than 1024"),
        ("telephone:600111222", "unknown namespace"),
    ],
)
def test_unusable_identifiers_are_refused_with_the_reason(text: str, reason: str) -> None:
    refusal = SPANISH_RULES.normalise(Identifier.parse(text))
    assert isinstance(refusal, str)
    assert reason in refusal


def test_without_a_region_a_phone_number_needs_its_country() -> None:
    assert isinstance(rules().normalise(Identifier("phone", "600111222")), str)
    assert rules().normalise(Identifier("phone", "+34600111222")) == Identifier(
        "phone", "+34600111222"
    )


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"phone_region": "XX"}, ("identity", "phone_region")),
        ({"blocked_patterns": ("a", "(")}, ("identity", "blocked_patterns", 1)),
    ],
)
def test_settings_that_cannot_work_are_named(
    settings: dict[str, object], path: tuple[object, ...]
) -> None:
    problems = compile_bundle(bundle(model.Identity(_NAMESPACES, anonymous_id="raw", **settings)))  # type: ignore[arg-type]
    assert isinstance(problems, tuple)
    assert [problem.path for problem in problems] == [path]
