"""The synthetic bank is the same for the same seed, and its log agrees with its stated truth."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.adapters.config_files import load
from pipeline.cli import send
from pipeline.cli.main import build_app
from pipeline.config.model import Bundle, Source
from pipeline.flow import Flow
from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier, Interaction
from pipeline.row_files.row import FileRow
from pipeline.row_files.row_ids import RowIds
from pipeline.row_files.row_intake import RowIntake
from pipeline.rules import Rules
from pipeline.simulate.files import INTERACTIONS, JOURNEYS, NAMES, POLICY, TOUCHPOINTS, TRUTH, write
from pipeline.simulate.world import WorldSize
from tests.support.worlds import rules

_ROOT = Path(__file__).parents[2]
_BANK = _ROOT / "deploy" / "bank"
_MAX_SIGMAS = 4.0
_LATER_MS = 1_790_000_000_000


class SimulatedWorld:
    """Files of a world in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def truth(self) -> dict[str, Any]:
        truth: dict[str, Any] = json.loads((self.folder / TRUTH).read_text())
        return truth

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]

    def lines(self) -> list[bytes]:
        return (self.folder / INTERACTIONS).read_bytes().splitlines()

    def table(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name).open(newline="") as file:
            return list(csv.DictReader(file))

    def digests(self) -> dict[str, str]:
        return {
            name: hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in NAMES
        }


def make_world(folder: Path, size: WorldSize) -> SimulatedWorld:
    write(size, folder, lambda _: None)
    return SimulatedWorld(folder)


@pytest.fixture(scope="module")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> SimulatedWorld:
    return make_world(tmp_path_factory.mktemp("small"), WorldSize(80, 20, 11))


@pytest.fixture(scope="module")
def large_world(tmp_path_factory: pytest.TempPathFactory) -> SimulatedWorld:
    return make_world(tmp_path_factory.mktemp("large"), WorldSize(5_000, 10, 5))


@pytest.fixture(scope="module")
def bank_rules() -> Rules:
    bundle = load(_BANK, {})
    assert isinstance(bundle, Bundle), bundle
    return rules(bundle)


def write_by_command(folder: Path, seed: int, hash_seed: str) -> SimulatedWorld:
    options = ["--customers", "40", "--days", "9", "--seed", str(seed), "--out", str(folder)]
    command = [sys.executable, "-m", "pipeline.cli", "simulate", "bank", *options]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return SimulatedWorld(folder)


def test_same_seed_writes_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    first_run = write_by_command(tmp_path / "a", 3, "1")
    second_run = write_by_command(tmp_path / "b", 3, "2")
    other_run = write_by_command(tmp_path / "c", 4, "1")
    assert first_run.digests() == second_run.digests()
    assert not set(first_run.digests().values()) & set(other_run.digests().values())
    assert {path.name for path in first_run.folder.iterdir()} == set(NAMES)


def test_customers_life_is_the_same_in_a_larger_world(tmp_path: Path) -> None:
    part_world = make_world(tmp_path / "few", WorldSize(15, 12, 2))
    full_world = make_world(tmp_path / "many", WorldSize(40, 12, 2))
    assert set(part_world.lines()) < set(full_world.lines())
    assert part_world.truth["persons"].items() < full_world.truth["persons"].items()


def test_lines_are_in_order_of_time_and_ids_are_unique(small_world: SimulatedWorld) -> None:
    events = small_world.events
    times = [event["occurred_at"] for event in events]
    assert times == sorted(times)
    assert len({event["event_id"] for event in events}) == len(events)


def test_every_line_passes_the_checks_of_send(
    small_world: SimulatedWorld, bank_rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "ensure_configuration", lambda _: bank_rules.config)
    file = str(small_world.folder / INTERACTIONS)
    result = CliRunner().invoke(build_app("send"), ["send", file, "--check", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["sent"] == len(small_world.lines())


def test_persons_are_those_that_identity_finds(
    small_world: SimulatedWorld, bank_rules: Rules
) -> None:
    flow = Flow(bank_rules)
    source = Source("file", "file", "unused-key")
    intake = RowIntake(bank_rules.config, source, 10_000, _LATER_MS, RowIds("file"))
    for number, raw in enumerate(small_world.lines()):
        interaction = intake.take_in(FileRow(number, raw, 0))
        assert isinstance(interaction, Interaction), interaction
        for _ in flow.run(interaction):
            pass
    assert not flow.dead_letters
    names_by_person: defaultdict[str, set[str]] = defaultdict(set)
    for identifier, row in flow.rows["identity"].items():
        names_by_person[profile_id(Identifier.parse(row.root))].add(identifier)
    expected = {person: set(names) for person, names in small_world.truth["persons"].items()}
    assert names_by_person == expected
    assert max(map(len, expected.values())) > 5
    assert min(map(len, expected.values())) == 1


def test_every_kind_of_event_of_a_bank_happens(large_world: SimulatedWorld) -> None:
    names = {event["name"] for event in large_world.events}
    assert names >= {
        *("Home", "Logged In", "Product Viewed", "Card Payment", "Complaint", "Card Issued"),
        *("Credit Check Completed", "Card Requested", "Loan Requested", "Insurance Bought"),
        *("Friend Recommended", "Onboarding Started", "Terms Accepted", "Income Given"),
        *("Photo Uploaded", "Account Opened", "Message Sent", "Message Clicked"),
    }
    channels = {event["channel"] for event in large_world.events}
    assert channels == {"web", "app", "pos", "branch", "call", "email", "api"}


@dataclass(frozen=True)
class Share:
    """Share of `hit_count` among `n`."""

    hit_count: int
    n: int

    @property
    def value(self) -> float:
        return self.hit_count / self.n

    @property
    def variance(self) -> float:
        return self.value * (1 - self.value) / self.n


def conversions(large_world: SimulatedWorld, offer: str) -> dict[str, Share]:
    """Count conversions by the channel of the contact, `nothing` where a message was withheld."""
    goal = large_world.truth["goals"][offer]
    persons = persons_by_identifier(large_world)
    channels_by_person: dict[str, str] = {}
    buyers: set[str] = set()
    for event in large_world.events:
        person = persons[key(event)]
        if event["name"] == goal:
            buyers.add(person)
        elif (
            event["name"] in ("Message Sent", "Message Withheld")
            and event["properties"]["offer"] == offer
        ):
            channels_by_person[person] = event["properties"]["channel"]
    arm_sizes = Counter(channels_by_person.values())
    hit_counts = Counter(
        channel for person, channel in channels_by_person.items() if person in buyers
    )
    return {channel: Share(hit_counts[channel], n) for channel, n in arm_sizes.items()}


def persons_by_identifier(large_world: SimulatedWorld) -> dict[str, str]:
    return {
        name: person for person, names in large_world.truth["persons"].items() for name in names
    }


def key(event: dict[str, Any]) -> str:
    identifier = event["identifiers"][0]
    return f"{identifier['namespace']}:{identifier['value']}"


_RANDOM_ARMS = [
    *(("gold-card", channel) for channel in ("email", "web", "call")),
    *(("travel-insurance", channel) for channel in ("email", "web")),
    *(("bring-a-friend", channel) for channel in ("email", "web")),
    ("cashback", "pos"),
]


@pytest.mark.parametrize(("offer", "channel"), _RANDOM_ARMS)
def test_randomised_arms_recover_the_stated_effect(
    large_world: SimulatedWorld, offer: str, channel: str
) -> None:
    arms = conversions(large_world, offer)
    expected = large_world.truth["offers"][offer][channel]
    treated_share, control = arms[channel], arms["nothing"]
    sigma = sqrt(treated_share.variance + control.variance)
    assert abs(treated_share.value - expected["conversion"]) < _MAX_SIGMAS * sqrt(
        treated_share.variance
    )
    assert abs(treated_share.value - control.value - expected["effect"]) < _MAX_SIGMAS * sigma
    assert sigma < 0.03


def test_confounded_comparison_overstates_the_effect(large_world: SimulatedWorld) -> None:
    [comparison] = large_world.truth["confounded"]
    offer = comparison["offer"]
    persons = persons_by_identifier(large_world)
    goal = large_world.truth["goals"][offer]
    customers = {persons[key(event)] for event in large_world.events if event["name"] == "identify"}
    callees, buyers = set(), set()
    for event in large_world.events:
        if event["name"] == goal:
            buyers.add(persons[key(event)])
        elif event["name"] == "Message Sent" and event["properties"]["offer"] == offer:
            callees.add(persons[key(event)])
    treated_share = Share(len(callees & buyers), len(callees))
    other_share = Share(len((customers - callees) & buyers), len(customers - callees))
    difference, sigma = (
        treated_share.value - other_share.value,
        sqrt(treated_share.variance + other_share.variance),
    )
    assert difference - comparison["effect"] > 5 * sigma
    assert difference > 3 * comparison["effect"]


@pytest.mark.parametrize(("offer", "channel"), [*_RANDOM_ARMS, ("personal-loan", "call")])
def test_clicks_are_as_likely_as_stated(
    large_world: SimulatedWorld, offer: str, channel: str
) -> None:
    counts: Counter[str] = Counter()
    for event in large_world.events:
        properties = event["properties"]
        if properties.get("offer") == offer and properties.get("channel") == channel:
            counts[event["name"]] += 1
    click_share = Share(counts["Message Clicked"], counts["Message Sent"])
    expected = large_world.truth["offers"][offer][channel]["click"]
    assert abs(click_share.value - expected) < _MAX_SIGMAS * sqrt(
        expected * (1 - expected) / click_share.n
    )


def test_logged_decisions_give_the_values_of_the_logged_and_target_policies(
    large_world: SimulatedWorld,
) -> None:
    rows = [{name: float(cell) for name, cell in row.items()} for row in large_world.table(POLICY)]
    assert len(rows) > 1_000
    truth = large_world.truth["policy"]
    rewards = [row["reward"] for row in rows]
    target_rewards = [row["reward"] * row["target_propensity"] / row["propensity"] for row in rows]
    for values, expected in (
        (rewards, truth["logged_value"]),
        (target_rewards, truth["target_value"]),
    ):
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values) ** 2
        assert abs(mean - expected) < _MAX_SIGMAS * sqrt(variance)
    assert truth["target_value"] > truth["logged_value"]


def test_best_channel_of_a_step_has_the_greatest_effect(large_world: SimulatedWorld) -> None:
    truth = large_world.truth
    offers_by_goal = {goal: offer for offer, goal in truth["goals"].items()}
    assert len(truth["best_channel_per_step"]) == 4
    for step, channel in truth["best_channel_per_step"].items():
        arms = truth["offers"][offers_by_goal[step]]
        assert arms[channel]["effect"] == max(arm["effect"] for arm in arms.values())


def test_tables_describe_the_same_world(small_world: SimulatedWorld) -> None:
    persons = small_world.truth["persons"]
    events = Counter(event["name"] for event in small_world.events)
    touches = small_world.table(TOUCHPOINTS)
    assert {row["profile_id"] for row in touches} <= persons.keys()
    kinds = Counter(row["kind"] for row in touches)
    assert kinds["touch"] == sum(
        events[name] for name in ("Message Sent", "Message Seen", "Message Clicked")
    )
    assert kinds["conversion"] == sum(
        events[name]
        for name in (
            *("Card Requested", "Insurance Bought", "Loan Requested"),
            *("Cashback Activated", "Friend Recommended"),
        )
    )
    names = Counter(row["name"] for row in small_world.table(JOURNEYS))
    for step in ("Onboarding Started", *small_world.truth["best_channel_per_step"]):
        assert names[step] == events[step] > 0


def test_truth_is_marked_as_synthetic(small_world: SimulatedWorld) -> None:
    assert small_world.truth["synthetic"] is True


def run_insights(*arguments: str) -> Any:
    result = CliRunner().invoke(build_app("insights"), ["insights", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_off_policy_intervals_cover_the_exact_value(large_world: SimulatedWorld) -> None:
    expected = large_world.truth["policy"]["target_value"]
    estimates = run_insights("off-policy", "--log", str(large_world.folder / POLICY))
    for method in ("ips", "snips", "dr"):
        assert estimates[method]["low"] < expected < estimates[method]["high"], method


_PLAN = """
journey: onboarding
goal: {when: {name: Account Opened}, window: 30d}
enter: {when: {name: Onboarding Started}, again: never}
steps:
  - {step: started, mandatory: true, reached: {name: Onboarding Started}}
  - {step: terms, mandatory: true, reached: {name: Terms Accepted}}
  - {step: income, mandatory: true, reached: {name: Income Given}}
  - {step: photo, mandatory: true, reached: {name: Photo Uploaded}}
  - {step: opened, mandatory: true, reached: {name: Account Opened}}
"""


def test_analyses_read_journeys_and_touches(large_world: SimulatedWorld, tmp_path: Path) -> None:
    (tmp_path / "onboarding.yaml").write_text(_PLAN)
    events = str(large_world.folder / JOURNEYS)
    journey_statistics = run_insights(
        "journeys", "--events", events, "--defined", str(tmp_path / "onboarding.yaml")
    )
    rows = large_world.table(JOURNEYS)
    assert journey_statistics["cases"] == len({row["case_id"] for row in rows})
    account_count = sum(row["name"] == "Account Opened" for row in rows)
    assert journey_statistics["funnel"][-1] == {"step": "opened", "cases": account_count}
    touches = str(large_world.folder / TOUCHPOINTS)
    credit = run_insights(
        "attribution", "--touches", touches, "--model", "linear", "--replicates", "0"
    )
    assert {"email", "web", "call", "pos"} <= {channel["channel"] for channel in credit["channels"]}
