"""`kairos config validate` as a command: its output and exit code."""

import shutil
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.config import unreachable_campaign_warnings
from pipeline.cli.main import build_app
from pipeline.rollout.plan import RolloutPlan
from pipeline.rollout.reach import CampaignReach

_DEMO = Path(__file__).parents[2] / "deploy" / "demo"
_BUYERS = Path("segments", "buyers.yaml")
_COMMA_ERROR = (
    "28: YAML: expected ',' or '}', but got ':'; write a comma before it, or close the bracket of "
    "line 3"
)
_CONDITION = "when: {trait: purchases, gte: 1}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copy of the demo's configuration, to be damaged."""
    return Path(shutil.copytree(_DEMO, tmp_path / "config"))


def validate(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(build_app("config"), ["config", "validate", str(folder), *options])


def test_valid_folder_exits_with_0(folder: Path) -> None:
    result = validate(folder)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "is valid: " in " ".join(result.stdout.split())  # the output is wrapped at any width


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "when: {trait: purchase, gte: 1}",
            "8: unknown trait 'purchase': did you mean 'purchases'?",
        ),
        (
            "when: {trait: purchases, gtee: 1}",
            "26: 'gtee' is not part of a condition: did you mean 'gte'?",
        ),
        (
            "when: {trait: purchases gte: 1}",
            _COMMA_ERROR,
        ),
    ],
    ids=["unknown trait", "misspelt field", "no YAML"],
)
def test_mistake_exits_with_1_and_its_place(folder: Path, line: str, message: str) -> None:
    text = (folder / _BUYERS).read_text()
    (folder / _BUYERS).write_text(text.replace(_CONDITION, line))
    result = validate(folder)
    assert (result.exit_code, result.stdout) == (1, "")
    expected = [f"{_BUYERS}:3:{message}", f"kairos: {folder} has 1 error"]
    assert result.stderr.splitlines() == expected
    errors = msgspec.json.decode(validate(folder, "--json").stdout)["errors"]
    assert [
        f"{error['file']}:{error['line']}:{error['column']}: {error['message']}" for error in errors
    ] == expected[:1]


def test_campaign_that_reaches_nobody_is_named_with_its_line() -> None:
    # `plan` names the campaign, since only the data show its reach.
    reaches = (CampaignReach("loyalty", 0, False), CampaignReach("welcome", 3, False))
    rollout = RolloutPlan("d", True, 7, (), (), (), reaches)
    [warning] = unreachable_campaign_warnings(_DEMO, rollout)
    file = _DEMO / "campaigns" / "loyalty.yaml"
    assert warning.file == str(file)
    assert file.read_text().splitlines()[warning.line - 1].startswith("audience:")
    assert "none of 7 profiles" in warning.message
    assert "widen the audience" in warning.message
