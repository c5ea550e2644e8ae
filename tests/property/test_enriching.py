"""Derived values count in traits and segments as by brute force, in any order."""

import random
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.enrichment.enrichers import derive
from pipeline.enrichment.shard import apply, merge
from pipeline.enrichment.view import traits
from pipeline.flow import Flow
from pipeline.identity.mapping import apply_mappings
from pipeline.model import topics
from pipeline.model.interaction import FactValue, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.profile import Profile
from pipeline.model.stages import Segmented
from tests.support.enriched import BASE, DEVICES, PLACES, RATES, SPIDER, enriched_rules, visits

_BUILT_IN_TRAITS = {
    "first_seen",
    "last_seen",
    "interactions",
    "sessions",
    "session_started_at",
    "identifiers",
    "identifier.cookie",
}


def _facts(interaction: Interaction) -> dict[str, Any]:
    """Return the facts that the definitions of the enrichers give for a visit."""
    agent, place = interaction.context.user_agent, PLACES.get(interaction.context.ip or "")
    total = interaction.properties.get("total" if interaction.source == "shop" else "sum.paid")
    currency = interaction.properties.get("currency", "EUR")
    offset = -5 if interaction.context.timezone else 1
    moment = datetime(2024, 1, 1) + timedelta(
        milliseconds=interaction.occurred_at - BASE, hours=offset
    )
    return {
        "device": DEVICES.get(agent or ""),
        "touch": None
        if interaction.context.url is None
        else interaction.context.url.partition("=")[2],
        "country": place and place.country,
        "paid": None if total is None else total * RATES.get(str(currency), 0),
        "unknown": total is not None and currency == "XXX",
        "monday": moment.weekday() == 0,
        "lang": interaction.context.locale if interaction.source == "till" else None,
    }


def _expected_traits(stream: list[Interaction], count_bots: bool) -> dict[str, FactValue]:
    counted_records = [
        record for record in stream if count_bots or record.context.user_agent != SPIDER
    ]
    facts_of_visits = [
        _facts(interaction)
        for interaction in sorted(counted_records, key=lambda i: (i.occurred_at, i.event_id))
    ]

    def values_of(name: str) -> list[Any]:
        return [facts[name] for facts in facts_of_visits if facts[name] is not None]

    devices, touches, languages = (
        values_of("device"),
        values_of("touch"),
        values_of("lang"),
    )
    payments = [
        facts["paid"]
        for facts in facts_of_visits
        if facts["paid"] is not None and not facts["unknown"]
    ]
    expected = {
        "visits": len(facts_of_visits) or None,
        "device": devices[-1] if devices else None,
        "devices": tuple(sorted(set(devices))) or None,
        "first_touch": touches[0] if touches else None,
        "last_touch": touches[-1] if touches else None,
        "countries": tuple(sorted(set(values_of("country")))) or None,
        "spent": round(sum(payments), 6) if payments else None,
        "unknown": sum(facts["unknown"] for facts in facts_of_visits) or None,
        "on_mondays": sum(facts["monday"] for facts in facts_of_visits) or None,
        "language": languages[-1] if languages else None,
    }
    return {name: value for name, value in expected.items() if value is not None}


def _remove_built_in_traits(traits: dict[str, FactValue]) -> dict[str, FactValue]:
    return {name: value for name, value in traits.items() if name not in _BUILT_IN_TRAITS}


@given(visits(), st.booleans())
def test_profiles_are_those_of_brute_force(stream: list[Interaction], count_bots: bool) -> None:
    flow = Flow(enriched_rules(count_bots))
    emits = [emit for record in stream for emit in flow.run(record)]
    assert not flow.dead_letters
    profiles = {emit.value.root: emit.value for emit in emits if isinstance(emit.value, Profile)}
    for root, profile in profiles.items():
        own_records = [record for record in stream if record.identifiers[0].key == root]
        assert _remove_built_in_traits(profile.traits) == _expected_traits(own_records, count_bots)


@given(visits(20), st.randoms(use_true_random=False))
def test_order_of_arrival_and_the_shards_do_not_matter(
    stream: list[Interaction], shuffler: random.Random
) -> None:
    rules = enriched_rules()
    shuffled_stream = list(stream)
    shuffler.shuffle(shuffled_stream)
    parts = [
        apply(None, mapped_record, rules.config, derive(mapped_record, rules.enrichers))
        for mapped_record in (apply_mappings(record, rules.config) for record in shuffled_stream)
    ]
    while len(parts) > 1:
        shuffler.shuffle(parts)
        parts.append(merge(parts.pop(), parts.pop(), rules.config))
    actual_traits = traits(parts, stream[-1].received_at, rules.config)
    assert _remove_built_in_traits(actual_traits) == _expected_traits(stream, count_bots=False)


@given(visits())
def test_interaction_carries_only_the_derived_values_that_later_stages_read(
    stream: list[Interaction],
) -> None:
    flow = Flow(enriched_rules())
    emits: list[Emit] = [emit for record in stream for emit in flow.run(record)]
    visits_by_id = {record.event_id: record for record in stream}
    segmented_records = [
        emit.value
        for emit in emits
        if emit.topic == topics.SEGMENTED and isinstance(emit.value, Segmented)
    ]
    tracks = [
        record
        for record in segmented_records
        if record.interaction and record.interaction.kind == "track"
    ]
    assert len(tracks) == len(stream)
    for record in tracks:
        assert record.interaction is not None
        assert record.profile is not None
        assert record.segments is not None
        device = DEVICES.get(visits_by_id[record.interaction.event_id].context.user_agent or "")
        assert record.profile.derived == ({} if device is None else {"device_type": device})
        assert ("on_the_phone" in record.segments.members) is (device == "mobile")
        if record.interaction.source == "till":
            properties = record.interaction.properties
            assert properties.get("total") == properties.get("sum.paid")
