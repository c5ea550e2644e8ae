"""Interactions of the topic are decided by two configurations; nothing is written to a topic."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from msgspec.structs import replace

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.adapters.config_files import load
from pipeline.adapters.snapshots import scan
from pipeline.config.model import Bundle
from pipeline.flow import Flow
from pipeline.home.records import Records
from pipeline.home.topics import ensure_topics
from pipeline.model import topics
from pipeline.model.decision import Action, Decision
from pipeline.model.fingerprint import fingerprint
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import Emit
from pipeline.replay.what_if import TimeRange, WhatIfReport, compare_configurations
from pipeline.rules import Rules
from pipeline.settings import Settings
from tests.support.broker import running_broker
from tests.support.shop_log import START_MS, shop_log, visit
from tests.support.worlds import rules

_DEMO = Path(__file__).parents[2] / "deploy" / "demo"
_CAMPAIGN = "cart-recovery"
_CODEC = Codec(recorded_versions())
_END = 2 * START_MS

_Ask = Callable[[Rules, TimeRange], WhatIfReport]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a home whose topics hold the log and nothing else."""
    home = tmp_path_factory.mktemp("home")
    with running_broker(home) as bootstrap:
        settings = Settings(home=home, bootstrap_servers=bootstrap, partitions=1)
        ensure_topics(settings, ["web", "email"])
        yield settings


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    bundle_read = load(_DEMO)
    assert isinstance(bundle_read, Bundle)
    return bundle_read


@pytest.fixture(scope="module")
def log(bundle: Bundle) -> list[Interaction]:
    """Visits, and a click on the first message of the campaign."""
    visits = shop_log()
    actions = [emit.value for emit in _run_stages(bundle, visits) if isinstance(emit.value, Action)]
    click_action = next(action for action in actions if action.campaign == _CAMPAIGN)
    click = visit(900, "click", visits[-1].received_at, click_action.identifier.key, kind="outcome")
    action_properties = {
        "action_id": click_action.action_id,
        "campaign": _CAMPAIGN,
        "offer": click_action.offer,
    }
    return [*visits, replace(click, properties=action_properties)]


def _run_stages(bundle: Bundle, log: Iterable[Interaction]) -> list[Emit]:
    """Run the stages in the test's process; return their outputs."""
    flow = Flow(rules(bundle))
    emits: list[Emit] = []
    for interaction in log:
        emits += flow.advance(interaction.received_at)
        emits += flow.run(interaction)
    return emits


@pytest.fixture(scope="module")
def records(settings: Settings, log: list[Interaction]) -> Records:
    producer = Producer({**settings.kafka(), "partitioner": "murmur2"})
    for interaction in log:
        value = _CODEC.encode(topics.INTERACTIONS, interaction)
        producer.produce(topics.INTERACTIONS, value, interaction.identifiers[0].key, partition=0)
    assert producer.flush(30) == 0
    return Records.of(settings)


@pytest.fixture
def ask(records: Records, bundle: Bundle, tmp_path: Path) -> _Ask:
    """Function that decides the log by other rules than the demonstration's."""

    def run(other_rules: Rules, time_range: TimeRange) -> WhatIfReport:
        return compare_configurations(
            records, rules(bundle), other_rules, time_range, tmp_path, lambda _: None
        )

    return run


def test_same_configuration_decides_identically(
    ask: _Ask, bundle: Bundle, log: list[Interaction]
) -> None:
    report = ask(rules(bundle), TimeRange(None, log[-1].received_at + 1))
    assert report.identical
    assert (report.changed_slots, report.interactions) == (0, len(log))
    assert report.before == report.after
    emits = _run_stages(bundle, log)
    decisions = [emit.value for emit in emits if isinstance(emit.value, Decision)]
    assert report.before.decision_hash == fingerprint(decisions)
    assert report.before.actions == sum(isinstance(emit.value, Action) for emit in emits) > 0


def test_without_a_campaign_its_messages_and_their_outcomes_are_gone(
    ask: _Ask, bundle: Bundle, settings: Settings
) -> None:
    [removed_campaign] = [
        campaign for campaign in bundle.campaigns if campaign.campaign == _CAMPAIGN
    ]
    other_campaigns = tuple(
        campaign for campaign in bundle.campaigns if campaign is not removed_campaign
    )
    report = ask(rules(replace(bundle, campaigns=other_campaigns)), TimeRange(None, _END))
    names = {offer.offer for offer in removed_campaign.offers}
    lost_offers = [offer for offer in report.offers if offer.name in names]
    assert not report.identical
    assert report.changed_slots > 0
    assert (
        sum(offer.before for offer in lost_offers) > sum(offer.after for offer in lost_offers) == 0
    )
    assert (report.before.outcomes_left_out, report.after.outcomes_left_out) == (0, 1)
    assert sum(channel.before for channel in report.channels) == report.before.actions
    assert sum(channel.after for channel in report.channels) == report.after.actions
    assert not list(scan(settings.kafka(), topics.DECISIONS))


def test_only_decisions_of_the_range_are_compared(
    ask: _Ask, bundle: Bundle, log: list[Interaction]
) -> None:
    middle = log[150].received_at
    whole_report, first_report, later_report = (
        ask(rules(bundle), time_range)
        for time_range in (TimeRange(None, _END), TimeRange(None, middle), TimeRange(middle, _END))
    )
    assert (
        first_report.before.decisions + later_report.before.decisions
        == whole_report.before.decisions
    )
    assert 0 < first_report.before.actions < whole_report.before.actions
