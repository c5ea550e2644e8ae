"""Compilation of a bundle to the stages' rules."""

from pathlib import Path

import pytest

from pipeline.adapters.config_files import load
from pipeline.conditions import Facts
from pipeline.config import canonical
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.config.dates import end_ms, start_ms
from pipeline.config.model import (
    Bundle,
    Campaign,
    Cap,
    Channel,
    Channels,
    Identity,
    Namespace,
    Offer,
    Policies,
    ProfileRules,
    Segment,
    Source,
    Sources,
    TraitDefinition,
    Treatment,
)
from pipeline.model.interaction import Context, Identifier, Interaction

DEMO = Path(__file__).parents[2] / "deploy" / "demo"
DAY = 86_400_000


def bundle(
    segments: tuple[Segment, ...] = (),
    campaigns: tuple[Campaign, ...] = (),
    traits: tuple[TraitDefinition, ...] = (),
    caps: tuple[Cap, ...] = (),
) -> Bundle:
    return Bundle(
        sources=Sources((Source("shop", "web", "key-of-shop"),)),
        identity=Identity((Namespace("customer_id"), Namespace("email", "lower"))),
        channels=Channels(
            (
                Channel("web", placements=("hero",)),
                Channel("email", cost=0.5, deadline="1h", adapter="webhook", url="http://x"),
            )
        ),
        profile=ProfileRules(traits),
        policies=Policies(caps),
        segments=segments,
        campaigns=campaigns,
    )


def compile_valid(valid_bundle: Bundle) -> Configuration:
    config = compile_bundle(valid_bundle)
    assert isinstance(config, Configuration), config
    return config


def test_segments_come_after_those_they_read() -> None:
    chain = tuple(Segment(f"s{i}", {"not": {"segment": f"s{i + 1}"}}) for i in range(9))
    config = compile_valid(bundle((*chain, Segment("s9", {"name": "x"}))))
    assert [segment.name for segment in config.segments] == [f"s{i}" for i in range(9, -1, -1)]
    assert config.segment_index.interaction_segments == 1


def test_circle_of_segments_is_refused() -> None:
    problems = compile_bundle(
        bundle((Segment("a", {"segment": "b"}), Segment("b", {"segment": "a"})))
    )
    assert isinstance(problems, tuple)
    assert "a -> b -> a" in problems[0].message or "b -> a -> b" in problems[0].message


def test_candidates_have_costs_and_deadlines_of_their_channels() -> None:
    offer = Offer(
        "o",
        5,
        (
            Treatment("page", "web", placement="hero"),
            Treatment("mail", "email", address="email", cost=1, deadline="5m"),
            Treatment("slow-mail", "email"),
        ),
        when={"trait": "sessions", "gt": 2},
    )
    campaign = Campaign(
        "c", (offer,), trigger={"name": "x"}, starts="2024-01-01", ends="2024-01-31"
    )
    config = compile_valid(bundle(campaigns=(campaign,)))
    [hero], [outbound] = config.placement_entries["hero"], config.outbound_entries
    assert hero.treatments == ("page",)
    assert outbound.treatments == ("mail", "slow-mail")
    mail, slow_mail = outbound.candidates
    assert (mail.cost, mail.deadline_ms, slow_mail.cost, slow_mail.deadline_ms) == (
        1.5,
        300_000,
        0.5,
        3_600_000,
    )
    assert outbound.campaign.ends_ms is not None
    assert outbound.campaign.starts_ms is not None
    assert outbound.campaign.ends_ms - outbound.campaign.starts_ms == 31 * DAY


def test_read_traits_are_those_with_a_reader() -> None:
    traits = tuple(TraitDefinition(name, "count") for name in "abcdef")
    offer = Offer(
        "o",
        1,
        (Treatment("t", "email", address="email", content={"s": "{c} {properties.f}"}),),
        when={"trait": "a", "gt": {"trait": "b"}},
    )
    campaign = Campaign("c", (offer,), trigger={"name": "x"}, audience={"trait": "d", "is": 1})
    config = compile_valid(
        bundle((Segment("s", {"trait": "sessions", "gt": 1}),), (campaign,), traits)
    )
    assert config.read_traits == ("a", "b", "c", "d", "identifier.email", "sessions")


def test_traits_read_interactions() -> None:
    config = compile_valid(
        bundle(
            traits=(
                TraitDefinition("total", "sum", "properties.order.total", {"name": "Order"}),
                TraitDefinition("language", "latest", "context.locale"),
                TraitDefinition("heard", "max", "received_at"),
                TraitDefinition("visits", "count"),
            )
        )
    )
    order = Interaction(
        "e", "track", "Order", "web", "shop", 1, 2, (), {"order.total": 9.5}, Context(locale="es")
    )
    assert [trait.aggregates[0].read(Facts.of(order)) for trait in config.traits] == [
        9.5,
        "es",
        2,
        1,
    ]


@pytest.mark.parametrize(
    ("namespace", "value", "expected"),
    [
        ("email", "  Ada@Example.COM ", Identifier("email", "ada@example.com")),
        ("customer_id", " A7 ", Identifier("customer_id", "A7")),
        ("customer_id", "x" * 1024, Identifier("customer_id", "x" * 1024)),
        ("customer_id", "x" * 1025, "longer than 1024 characters"),
        ("customer_id", " NULL ", "blocked"),
        ("customer_id", "  ", "blocked"),
        ("emial", "a@b.c", "did you mean 'email'?"),
    ],
)
def test_identifiers_are_normalised_or_refused_in_words(
    namespace: str, value: str, expected: Identifier | str
) -> None:
    identifier = compile_valid(bundle()).identity.normalise(Identifier(namespace, value))
    if isinstance(expected, Identifier):
        assert identifier == expected
    else:
        assert isinstance(identifier, str)
        assert expected in identifier


def test_ranks_follow_the_order_of_namespaces() -> None:
    identity = compile_valid(bundle()).identity
    identifiers = [
        Identifier("email", "a@b.c"),
        Identifier("customer_id", "9"),
        Identifier("email", "A"),
    ]
    assert [identifier.value for identifier in identity.rank([*identifiers, *identifiers])] == [
        "9",
        "A",
        "a@b.c",
    ]


def test_caps_have_windows_in_milliseconds() -> None:
    config = compile_valid(
        bundle(caps=(Cap("a", "all", 3, "1d"), Cap("b", "channel", 1, "7d", channel="email")))
    )
    assert [(cap.name, cap.window_ms) for cap in config.caps] == [("a", DAY), ("b", 7 * DAY)]
    assert config.constraints.retention_ms == 7 * DAY


def test_body_gives_the_same_configuration_back() -> None:
    demo_bundle = load(DEMO, {})
    assert isinstance(demo_bundle, Bundle)
    config = compile_valid(demo_bundle)
    decoded_configuration = Configuration.from_json(config.to_json())
    assert (decoded_configuration.bundle, decoded_configuration.digest) == (
        config.bundle,
        config.digest,
    )
    assert decoded_configuration.to_json() == config.to_json()


def test_defaults_spelt_out_change_nothing() -> None:
    plain_bundle, spelt_bundle = bundle(), bundle()
    spelt_bundle = Bundle(
        sources=Sources((Source("shop", "web", "key-of-shop", "".join(["wa", "ll"])),), ()),
        identity=spelt_bundle.identity,
        channels=spelt_bundle.channels,
        profile=ProfileRules((), "".join(["30", "m"])),
    )
    assert canonical.to_json(plain_bundle) == canonical.to_json(spelt_bundle)
    assert "wall" not in canonical.to_json(spelt_bundle)


def test_body_without_required_fields_is_refused() -> None:
    with pytest.raises(ValueError, match="sources"):
        Configuration.from_json("{}")


def test_dates_are_in_utc_unless_they_have_a_zone() -> None:
    assert start_ms("1970-01-02") == DAY
    assert end_ms("1970-01-02") == 2 * DAY
    assert start_ms("1970-01-01T01:00:00+01:00") == 0
    assert start_ms("1970-01-01T01:00:00") == end_ms("1970-01-01T01:00:00Z") == 3_600_000
    for text in ("yesterday", "2024-13-01", ""):
        with pytest.raises(ValueError, match=r"isoformat|month"):
            start_ms(text)
