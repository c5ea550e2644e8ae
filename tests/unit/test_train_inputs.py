"""Odd folders of `kairos train` and `kairos models`: each fault is named with its file."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.main import build_app
from tests.support.played_world import PlayedWorld, bank, write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(PlayedWorld(bank(), customers=60, days=8), folder)
    return folder


@pytest.fixture
def replay_copy(world: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world, tmp_path / "copied"))


def _run(command: str, *arguments: object) -> Result:
    result = CliRunner().invoke(build_app(command), [command, *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def _train(folder: Path, *arguments: object) -> Result:
    options = ("--decisions", folder / "decisions", "--interactions", folder / "segmented")
    window = () if "--window" in arguments else ("--window", "12h")
    out_options = () if "--out" in arguments else ("--out", folder / "models")
    return _run("train", "propensity", "bank", *options, *window, *out_options, *arguments)


def _rewrite(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    for file in folder.rglob("*.parquet"):
        pq.write_table(change(pq.read_table(file, partitioning=None)), file)


def _set_column(name: str, values: Callable[[pa.Table], list[Any]]) -> Callable[..., pa.Table]:
    return lambda table: table.set_column(
        table.column_names.index(name), name, pa.array(values(table))
    )


def _set_propensity(propensity: float | None) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        rows = table.column("choices").to_pylist()
        for row in rows:
            for choice in row or ():
                choice["propensity"] = propensity
        choices = pa.array(rows, table.schema.field("choices").type)
        return table.set_column(table.column_names.index("choices"), "choices", choices)

    return change


def _damage(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:200] + bytes(len(data) // 2) + data[200 + len(data) // 2 :])


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("decisions", shutil.rmtree, "holds no Parquet files of decisions"),
        ("segmented", shutil.rmtree, "holds no Parquet files of interactions.segmented"),
        (
            "decisions",
            lambda path: _rewrite(path, lambda t: t.slice(0, 0)),
            "0 messages whose window",
        ),
        (
            "segmented",
            lambda path: _rewrite(path, lambda t: t.slice(0, 0)),
            "0 messages whose window",
        ),
        (
            "decisions",
            lambda path: _rewrite(path, lambda t: t.drop(["choices"])),
            "column 'choices'",
        ),
        (
            "decisions",
            lambda path: _rewrite(path, _set_column("candidates", lambda t: ["x"] * len(t))),
            "holds records that cannot be read: Expected `array`",
        ),
        (
            "decisions",
            lambda path: _rewrite(path, _set_column("choices", lambda t: [1] * len(t))),
            "holds records that cannot be read",
        ),
        (
            "decisions",
            lambda path: _rewrite(path, _set_column("decided_at", lambda t: ["x"] * len(t))),
            "holds records that cannot be read",
        ),
        (
            "decisions",
            lambda path: next(path.rglob("*.parquet")).write_bytes(b""),
            "too small to be a Parquet file",
        ),
        ("decisions", lambda path: _damage(next(path.rglob("*.parquet"))), "cannot be read"),
        ("segmented", lambda path: _damage(next(path.rglob("*.parquet"))), "cannot be read"),
    ],
)
def test_bad_replays_are_named(
    replay_copy: Path, part: str, change: Callable[[Path], object], words: str
) -> None:
    change(replay_copy / part)
    result = _train(replay_copy)
    assert result.exit_code == 1
    assert words in result.stderr
    assert not (replay_copy / "models").exists()


def test_swapped_folders_are_named(world: Path, tmp_path: Path) -> None:
    options = ("--decisions", world / "segmented", "--interactions", world / "decisions")
    result = _run("train", "propensity", "bank", *options, "--out", tmp_path)
    assert result.exit_code == 1
    assert "it is not interactions.segmented as `kairos replay` writes it" in result.stderr


@pytest.mark.parametrize("propensity", [None, 0.0, -0.5, 2.0, float("nan"), 1e-300])
def test_choices_without_a_valid_propensity_give_a_model_and_no_value_of_its_policy(
    replay_copy: Path, propensity: float | None
) -> None:
    _rewrite(replay_copy / "decisions", _set_propensity(propensity))
    result = _train(replay_copy, "--json")
    assert result.exit_code == 0, result.stderr
    assert msgspec.json.decode(result.stdout)["metrics"]["policy"] is None
    assert "nan" not in _train(replay_copy).stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--goal", "buy"), "--goal buy: is none of conversion"),
        (("--goal", "dismiss"), "0 of"),
        (("--goal", "impression"), "reached the goal: at least 20 that did and 20 that did not"),
        (("--window", "1 day"), "--window: '1 day' is not a duration"),
        (("--window", "3650d"), "replay more days, or shorten --window"),
        (("--out", "/dev/null/models"), "/dev/null/models cannot be written: Not a directory"),
    ],
)
def test_requests_that_no_model_fits_are_named(
    world: Path, tmp_path: Path, options: tuple[str, str], words: str
) -> None:
    result = _train(world, *options, *(() if "--out" in options else ("--out", tmp_path)))
    assert result.exit_code == 1
    assert words in result.stderr


@pytest.fixture(scope="module")
def models(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    result = _train(world, "--out", folder)
    assert result.exit_code == 0, result.stderr
    return folder


def _replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("name", "change", "words", "is_listed"),
    [
        ("manifest.json", lambda path: path.write_bytes(b""), "not a model's manifest", False),
        (
            "manifest.json",
            lambda path: path.write_bytes(path.read_bytes()[:99]),
            "not a model's",
            False,
        ),
        ("manifest.json", _replace_by_folder, "cannot be read: Is a directory", False),
        ("model.txt", Path.unlink, "cannot be read: No such file", True),
        ("model.txt", _replace_by_folder, "cannot be read: Is a directory", True),
        (
            "model.txt",
            lambda path: path.write_bytes(path.read_bytes()[:-9]),
            "train it again",
            True,
        ),
        (
            "model.txt",
            lambda path: path.write_bytes(b"\x00\xff"),
            "is not the model that was",
            True,
        ),
    ],
)
def test_damaged_models_are_named(
    models: Path, tmp_path: Path, name: str, change: Callable[[Path], object], words: str,
    is_listed: bool,
) -> None:  # fmt: skip
    folder = Path(shutil.copytree(models, tmp_path / "models"))
    file = folder / "bank" / "1" / name
    change(file)
    result = _run("models", "show", "bank", "--models", folder, "--json")
    assert f"{file}: " in result.stderr
    assert words in result.stderr
    assert result.exit_code == (0 if is_listed else 1)
    if not is_listed:
        assert "no model bank; there are: none" in result.stderr


def test_unknown_models_and_folders_are_named(models: Path) -> None:
    for arguments, words in (
        (("show", "banc", "--models", models), "no model banc; there are: bank@1"),
        (("show", "bank", "--version", 9, "--models", models), "no model bank@9; there are"),
        (("show", "bank", "--models", "/nowhere"), "/nowhere: there is no such folder"),
        (("show", "bank", "--models", "/dev/null"), "/dev/null: there is no such folder"),
    ):
        result = _run("models", *arguments)
        assert result.exit_code == 1
        assert words in result.stderr
