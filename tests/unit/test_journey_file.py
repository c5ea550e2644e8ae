"""Files of journeys: valid ones are accepted, and mistakes are named."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from pipeline.adapters.config_files import ConfigError
from pipeline.adapters.journey_file import load_journey
from pipeline.adapters.yaml_text import Document, read_yaml
from pipeline.config.model.journeys import EnterAfter, Journey
from pipeline.config.schema import JOURNEY, complete_schema
from pipeline.journeys.plan import JourneyPlan, PlannedStep
from pipeline.model.time import DAY_MS
from tests.support.journeys import ONBOARDING

WEEK_MS = 7 * DAY_MS


def _load(folder: Path, text: str) -> Journey | list[ConfigError]:
    file = folder / "onboarding.yaml"
    file.write_text(text)
    return load_journey(file)


def _load_valid(folder: Path, text: str) -> Journey:
    journey = _load(folder, text)
    assert isinstance(journey, Journey), journey
    return journey


def _replace(old_text: str, new_text: str) -> str:
    assert old_text in ONBOARDING
    return ONBOARDING.replace(old_text, new_text, 1)


def test_journey_becomes_its_plan(tmp_path: Path) -> None:
    journey = _load_valid(tmp_path, ONBOARDING)
    assert JourneyPlan.build(journey).steps == (
        PlannedStep("terms", 0, True, WEEK_MS),
        PlannedStep("income", 1, True),
        PlannedStep("photo", 1, False),
    )
    assert (journey.holdout, journey.exit) == (0.05, ({"name": "Onboarding Cancelled"},))


def test_split_adds_no_stage_to_the_plan(tmp_path: Path) -> None:
    text = ONBOARDING + "  - {step: last, reached: {name: Last}}\n"
    assert JourneyPlan.build(_load_valid(tmp_path, text)).steps[-1] == PlannedStep("last", 2)


@pytest.mark.parametrize(
    ("clause", "expected"),
    [("never", "never"), ("always", "always"), ("{after: 90d}", EnterAfter("90d"))],
)
def test_journey_may_be_entered_again(tmp_path: Path, clause: str, expected: object) -> None:
    entry_rule = _load_valid(tmp_path, _replace("again: never", f"again: {clause}")).enter
    assert entry_rule is not None
    assert entry_rule.again == expected


def test_published_schema_accepts_a_journey() -> None:
    document = read_yaml(ONBOARDING, {})
    assert isinstance(document, Document)
    assert Draft202012Validator(complete_schema(JOURNEY)).is_valid(document.value)


TERMS = "reached: {name: Terms Accepted}"


@pytest.mark.parametrize(
    ("old_text", "new_text", "error_text", "words"),
    [
        ("mandatory:", "mandatry:", "mandatry", "unknown field 'mandatry': did you mean 'manda"),
        ("window:", "windw:", "windw", "unknown field 'windw': did you mean 'window'?"),
        ("within: 7d", "within: a week", "within", "not a duration such as 30s"),
        ("again: never", "again: often", "again", "known: always, never"),
        ("holdout: 0.05", "holdout: 1.5", "holdout", "too large"),
        ("most: 3", "most: 0", "most: 0", "too small"),
        (TERMS, "{}", "{}\n    within", "YAML"),
        (f"{TERMS}\n", "description: x\n", "description", "unknown field 'description'"),
        (f"    {TERMS}\n", "", "step: terms", "'reached' is missing here"),
        (TERMS, "reached: {nam: x}", "nam: x", "'nam' is not part of a condition: did you mean"),
        ("- step: terms", "- stepp: terms", "stepp", "unknown field 'stepp': did you mean 'step'?"),
        ("- step: terms\n    m", "- m", "mandatory", "mandatory belongs to a step"),
        (
            "step: income",
            "step: terms",
            "terms\n        mandatory",
            "the step 'terms' occurs twice",
        ),
        (
            "Income Given",
            "Terms Accepted",
            "        reached: {name: Terms",
            "reaches the step 'terms'",
        ),
        ("mail-first: 0.5", "mail-first: 0.6", "arms", "the shares add up to 1.1"),
        ("mail-first: 0.5, ", "", "arms", "a split needs 2 arms or more"),
        ("by: share", "by: chance", "by: chance", "known: share"),
        ("Onboarding Cancelled", "Terms Accepted", "step: terms", "is an exit, which ends"),
        ("Onboarding Cancelled", "Terms Accepted", "step: income", "before it is mandatory, and"),
        (
            "Account Opened",
            "Terms Accepted",
            "step: photo",
            "reaches the goal, which ends the journey",
        ),
        (
            TERMS,
            "reached: {all: [{name: a}, {name: b}]}",
            "step: terms",
            "nobody can reach the step 'terms': no interaction has two names at once",
        ),
        ("- split:", "- any_order: []\n    split:", "split:", "any_order and split are two parts"),
        ("steps:\n", "steps: []\nx:\n", "x:", "unknown field 'x'"),
    ],
)
def test_mistakes_are_named_with_line_and_remedy(
    tmp_path: Path, old_text: str, new_text: str, error_text: str, words: str
) -> None:
    text = _replace(old_text, new_text)
    errors = _load(tmp_path, text)
    assert isinstance(errors, list), "this should not have been accepted"
    matches = [error for error in errors if words in error.message]
    assert matches, errors
    located_text = error_text if error_text in text else new_text
    line = text[: text.index(located_text)].count("\n") + 1
    assert line in [error.line for error in matches], (line, matches)
    assert all(error.file == str(tmp_path / "onboarding.yaml") for error in errors)


def test_journey_without_goal_exit_and_mandatory_step_cannot_end(tmp_path: Path) -> None:
    text = "journey: j\nsteps:\n  - {step: a, reached: {name: a}}\n"
    errors = _load(tmp_path, text)
    assert isinstance(errors, list)
    assert str(errors[0]) == (
        f"{tmp_path / 'onboarding.yaml'}:1:1: this journey cannot end: give it a goal, an exit, or "
        "a mandatory step"
    )
    for end in ("goal: {when: {name: b}}\n", "exit: [{name: b}]\n"):
        assert isinstance(_load(tmp_path, text + end), Journey)
    assert isinstance(_load(tmp_path, text.replace("{step: a,", "{step: a, mandatory: true,")),
                      Journey)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "the file is empty"), ("journey: [", "YAML"), ("- a\n", "expected fields, found a list")],
)
def test_invalid_journeys_are_refused(tmp_path: Path, text: str, words: str) -> None:
    errors = _load(tmp_path, text)
    assert isinstance(errors, list)
    assert words in errors[0].message


def test_missing_file_is_named(tmp_path: Path) -> None:
    errors = load_journey(tmp_path / "none.yaml")
    assert isinstance(errors, list)
    assert "cannot be read: No such file" in str(errors[0])
