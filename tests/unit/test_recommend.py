"""Recommendations are right where an effect was planted, and absent where there is none."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from pipeline.adapters.journey_file import load_journey
from pipeline.cli.main import build_app
from pipeline.config.model.journeys import Journey
from pipeline.simulate import tables
from pipeline.simulate.contacts import SENT_EVENT
from pipeline.simulate.offers import LOAN
from pipeline.simulate.truth import effect, naive_difference
from tests.support.choice_worlds import (
    SIZES,
    ChoiceWorld,
    channels_despite_groups,
    count_false_recommendations,
    count_right_recommendations,
    recommend_in,
)
from tests.support.prompted_bank import (
    ONBOARDING,
    best_channels,
    biographies,
    write_onboarding,
    write_tables,
)


@pytest.mark.parametrize(("customer_count", "base_rate"), SIZES)
def test_worlds_without_an_effect_hardly_get_a_recommendation(
    customer_count: int, base_rate: float
) -> None:
    assert count_false_recommendations(range(60), customer_count, base_rate) <= 0.05 * 60


def test_stated_effect_gets_the_right_recommendation() -> None:
    assert count_right_recommendations(range(30)) >= 0.8 * 30


def test_logged_propensities_correct_for_a_policy_that_chose_by_group() -> None:
    channels = channels_despite_groups(range(20))
    assert "call" not in channels
    assert channels.count("email") >= 0.8 * len(channels)


def test_arm_that_was_not_drawn_is_proposed_as_a_test() -> None:
    world = ChoiceWorld(1, {"terms": (0.0, 0.0, 0.3, 0.0)}, 2_000, has_propensities=False)
    for adjusted_columns, grade in (((), "Observed only"), (("group",), "Adjusted")):
        recommendation = recommend_in(world, adjusted_columns)
        assert [change.do for change in recommendation.changes] == ["test"]
        assert recommendation.changes[0].grade == grade
        assert "split" in recommendation.changes[0].draft
        assert not any(step.recommended for step in recommendation.journey)


def test_interval_covers_the_true_gain() -> None:
    # E-mail for everybody is worth 0.3; the logged choices are worth 0.1125 on average.
    effects = {"terms": (0.0, 0.05, 0.30, 0.10)}
    gains = [
        change.gain
        for seed in range(100)
        for change in recommend_in(ChoiceWorld(seed, effects, 1_200)).changes
        if change.kind == "prompt"
    ]
    assert len(gains) >= 95
    coverage_count = sum(gain.low <= 0.3 - 0.1125 <= gain.high for gain in gains)
    assert coverage_count >= 0.9 * len(gains)
    assert np.mean([gain.value for gain in gains]) == pytest.approx(0.3 - 0.1125, abs=0.02)


@pytest.fixture
def invoke(tmp_path: Path) -> Callable[..., Result]:
    """Function that runs the command on tables of the folder."""

    def run(*options: str) -> Result:
        files = ("--events", str(tmp_path / "e.csv"), "--prompts", str(tmp_path / "p.csv"))
        return CliRunner().invoke(
            build_app("insights"), ["insights", "recommend", *files, *options]
        )

    return run


def test_best_channels_of_the_bank_are_found(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    write_onboarding(tmp_path, 12_000)
    result = invoke("--defined", str(tmp_path / "j.yaml"), "--adjust", "tier", "--json")
    assert result.exit_code == 0, result.output
    document = msgspec.json.decode(result.stdout)
    channels = {
        step["step"]: step["channel"] for step in document["journey"] if step["recommended"]
    }
    assert channels == {step: best for step, best in best_channels().items() if step != "opened"}
    assert [change["rank"] for change in document["changes"]] == list(range(1, len(channels) + 1))
    for change in document["changes"]:
        step, offer = YAML(typ="safe").load_all(change["draft"])
        assert step["steps"][0]["step"] == change["place"]
        assert offer["offers"][0]["treatments"][0]["channel"] == channels[change["place"]]
        (tmp_path / "draft.yaml").write_text(
            ONBOARDING.split("steps:")[0] + change["draft"].split("---")[0].partition("\n")[2]
        )
        assert isinstance(load_journey(tmp_path / "draft.yaml"), Journey)


def test_calls_to_willing_customers_are_not_recommended(
    tmp_path: Path, invoke: Callable[..., Result]
) -> None:
    # The naive comparison gives the figure that truth.json calls naive. Nothing is recommended,
    # whether or not customers who were not called are in the table.
    people = biographies(range(2_500), is_known=True)
    callees = {
        person.profile_id
        for person in people
        if any(e.name == SENT_EVENT and e.properties["offer"] == LOAN.offer for e in person.events)
    }
    goals = [row for person in people for row in tables.goals(person) if row[2] == LOAN.goal]
    askers = {row[0] for row in goals}
    other_customers = {person.profile_id for person in people} - callees
    difference = len(callees & askers) / len(callees) - len(other_customers & askers) / len(
        other_customers
    )
    assert difference == pytest.approx(naive_difference(LOAN), abs=0.06)
    assert difference > 3 * effect(LOAN, "call")
    prompts = [row for person in people for row in tables.prompts(person) if row[5] == LOAN.offer]
    write_tables(tmp_path, prompts, goals)
    document = msgspec.json.decode(invoke("--json", "--adjust", "tier").stdout)
    assert (document["changes"], document["journey"][0]["recommended"]) == ([], False)
    assert "only one option" in document["journey"][0]["words"]
    start = tables.iso(1_704_067_200_000 + 86_400_000)
    silent_prompts = [
        (case, start, LOAN.goal, "nothing", "", "", None, "x") for case in sorted(other_customers)
    ]
    write_tables(tmp_path, [*prompts, *silent_prompts], goals)
    document = msgspec.json.decode(invoke("--json", "--within", "27d").stdout)
    assert {change["do"] for change in document["changes"]} <= {"test"}
    assert not document["journey"][0]["recommended"]


def test_costs_delays_and_opt_outs_change_the_best_channel(
    tmp_path: Path, invoke: Callable[..., Result]
) -> None:
    # Calls convert most; with their cost, or the opt-outs that they cause, e-mail is the best.
    random = np.random.default_rng(3)
    prompts, events = [], []
    for number in range(3_000):
        prompt_ms = 1_700_000_000_000 + number * 600_000
        channel = ("", "call", "email")[number % 3]
        prompts.append((number, prompt_ms, "Done", channel, channel, "o", 1 / 3, ""))
        if random.random() < {"": 0.1, "call": 0.4, "email": 0.3}[channel]:
            events.append((number, prompt_ms + 3_600_000, "Done", "web"))
        if channel == "call" and random.random() < 0.2:
            events.append((number, prompt_ms + 60_000, "Unsubscribed", "call"))
    write_tables(tmp_path, prompts, [*events, ("last", 1_800_000_000_000, "end", "")])

    def best_channel(*options: str) -> str:
        result = invoke("--json", *options)
        assert result.exit_code == 0, result.output
        return str(msgspec.json.decode(result.stdout)["journey"][0]["channel"])

    assert best_channel() == "call"
    assert best_channel("--cost", "call=0.3") == "email"
    assert best_channel("--opt-out", "Unsubscribed", "--opt-out-cost", "2") == "email"


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        ("1,2024-01-01,Done,call,m,o,0.5,", (), "p.csv:2: occurred_at: '2024-01-01' has no time"),
        ("1,2024-01-01T00:00Z,,call,m,o,0.5,", (), "p.csv:2: step: is blank"),
        ("1,2024-01-01T00:00Z,Done,call,m,o,0,", (), "p.csv:2: propensity: '0' is not above 0"),
        ("1,2024-01-01T00:00Z,Done,call,m,o,1.5,", (), "p.csv:2: propensity: '1.5' is above 1"),
        ("1,2024-01-01T00:00Z,Done,call,m,o,1,", ("--cost", "call"), "give CHANNEL=AMOUNT"),
        ("1,2024-01-01T00:00Z,Done,call,m,o,1,", ("--adjust", "age"), "has no column 'age'"),
        ("1,2024-01-01T00:00Z,Done,call,m,o,1,", ("--forbid", "a > b"), "give --defined FILE"),
    ],
)
def test_wrong_tables_are_reported_with_their_place(
    tmp_path: Path, invoke: Callable[..., Result], prompt: str, options: tuple[str, ...], words: str
) -> None:
    write_tables(tmp_path, [], [(1, "2024-02-01T00:00Z", "Done", "web")])
    with (tmp_path / "p.csv").open("a") as file:
        file.write(prompt + "\n")
    result = invoke(*options)
    assert result.exit_code != 0
    assert words in " ".join(f"{result.exception} {result.output}".replace("│", " ").split())


@pytest.mark.parametrize("row_count", [0, 1])
def test_without_data_there_is_a_clear_answer(
    tmp_path: Path, invoke: Callable[..., Result], row_count: int
) -> None:
    row = ("a", "2024-01-01T00:00Z", "Done", "call", "m", "o", 0.5, "x")
    write_tables(
        tmp_path, [row] * row_count, [("a", "2024-02-01T00:00Z", "Done", "web")] * row_count
    )
    for lang, words in (("en", "No recommendation"), ("es", "Sin recomendación")):
        result = invoke("--lang", lang)
        assert result.exit_code == 0, result.output
        assert words in result.stdout
        assert "nan" not in result.stdout
