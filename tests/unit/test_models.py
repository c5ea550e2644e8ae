"""Models: they predict as their trees do, and unsound ones are refused."""

import re
from collections.abc import Iterable
from functools import cache
from math import exp, inf, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.model_text import problem
from pipeline.adapters.models import load_scorer
from pipeline.adapters.trial import isolated_model_problem
from tests.support.cases import cases
from tests.support.trained import FEATURE_COUNT, booster, model_text

AMPLE_TIME_US = 1e6

values = st.one_of(st.floats(-3, 3), st.just(nan))
rows = st.lists(values, min_size=FEATURE_COUNT, max_size=FEATURE_COUNT)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model.txt"
    path.write_text(model_text())
    return path


def predict_by_hand(row: list[float]) -> float:
    """Return the prediction of the trees, walked one by one."""

    def leaf(node: dict[str, Any]) -> float:
        if "leaf_value" in node:
            return float(node["leaf_value"])
        value = row[node["split_feature"]]
        if isnan(value):
            if node["missing_type"] == "NaN":
                return leaf(node["left_child" if node["default_left"] else "right_child"])
            value = 0.0
        return leaf(node["left_child" if value <= node["threshold"] else "right_child"])

    return 1 / (1 + exp(-sum(leaf(tree) for tree in _trees())))


@cache
def _trees() -> list[dict[str, Any]]:
    return [tree["tree_structure"] for tree in booster().dump_model()["tree_info"]]


@given(rows)
def test_score_equals_that_of_the_trees(file: Path, row: list[float]) -> None:
    scorer = load_scorer(file, FEATURE_COUNT, AMPLE_TIME_US)
    assert not isinstance(scorer, str)
    assert scorer(row) == pytest.approx(predict_by_hand(row), abs=1e-12)
    [expected] = booster().predict(np.array([row]))
    assert scorer(row) == expected


def test_slow_model_is_refused(file: Path) -> None:
    problem = load_scorer(file, FEATURE_COUNT, 0.001)
    assert isinstance(problem, str)
    assert "too slow" in problem


def test_missing_model_is_refused(tmp_path: Path) -> None:
    problem = load_scorer(tmp_path / "gone", FEATURE_COUNT, AMPLE_TIME_US)
    assert isinstance(problem, str)
    assert "cannot be read" in problem


def test_sound_model_passes() -> None:
    assert problem(model_text().encode(), FEATURE_COUNT) is None


@pytest.mark.parametrize(
    ("pattern", "replacement", "words"),
    [
        (r"^tree\n", "forest\n", "no header"),
        (r"version=v4", "version=v9", "unknown version"),
        (r"num_class=1", "num_class=3", "several numbers"),
        (r"max_feature_idx=2", "max_feature_idx=9", "trained on 10 features, not on 3"),
        (r"max_feature_idx=2", "max_feature_idx=", "not a sound"),
        (r"tree_sizes=\d+", "tree_sizes=1", "tree 0"),
        (r"tree_sizes=\d+", "tree_sizes=0", "has no size"),
        (r"tree_sizes=\d+ ", "tree_sizes=", "occurs twice"),
        (r"num_leaves=8", "num_leaves=9", "values"),
        (r"num_leaves=8", "num_leaves=0", "no leaves"),
        (r"num_cat=0", "num_cat=1", "by category"),
        (r"is_linear=0", "is_linear=1", "linear leaves"),
        (r"split_feature=\d", "split_feature=7", "a missing feature"),
        (r"split_feature=\d", "split_feature=x", "not a sound"),
        (r"decision_type=\d+", "decision_type=1", "decision_type"),
        (r"left_child=1", "left_child=0", "form no tree"),
        (r"left_child=1", "left_child=6", "form no tree"),
        (r"left_child=1", "left_child=9", "form no tree"),
        (r"left_child=1", "left_child=-9", "form no tree"),
        (r"leaf_value=\S", "leaf_value=x", "not a sound"),
        (r"num_cat=0", "num_cat=\u00e9", "ASCII"),
    ],
)
def test_unsound_model_is_refused(pattern: str, replacement: str, words: str) -> None:
    # The sizes of trees are corrected, so that only the replacement is at fault.
    text, count = re.subn(pattern, replacement, model_text(), count=1, flags=re.MULTILINE)
    assert count
    text = _correct_sizes(text) if "tree_sizes" not in pattern else text
    found_problem = problem(text.encode(), FEATURE_COUNT)
    assert found_problem is not None
    assert words in found_problem


def _correct_sizes(text: str) -> str:
    blocks = re.findall(r"^Tree=.*?\n\n\n", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"tree_sizes=.*", f"tree_sizes={' '.join(map(str, map(len, blocks)))}", text)


@given(data=st.data())
def test_accepted_model_can_be_loaded_and_predicts(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Any index may change. A model that reads foreign memory would end this process.
    text = model_text()
    fields = list(re.finditer(r"^(split_feature|left_child|right_child)=(.*)$", text, re.MULTILINE))
    field = data.draw(st.sampled_from(fields))
    numbers = field[2].split()
    index = data.draw(st.integers(0, len(numbers) - 1))
    numbers[index] = str(data.draw(st.integers(-9, 9)))
    text = text[: field.start(2)] + " ".join(numbers) + text[field.end(2) :]
    path = tmp_path_factory.mktemp("odd") / "model.txt"
    path.write_text(_correct_sizes(text))
    scorer = load_scorer(path, FEATURE_COUNT, AMPLE_TIME_US)
    if not isinstance(scorer, str):
        value = scorer([0.0, 1.0, nan])
        assert value is not None
        assert -inf < value < inf


NUMBERS = (
    "2_0",
    "+2",
    "02",
    "1e1",
    "0x2",
    " 2",
    "2 ",
    "\u0662",
    "2147483648",
    "9" * 5_000,
    "",
    "-0",
)
REALS = ("1_0.5", "nan", "inf", "-inf", "0x1p3", "1e999", "1,5", ".", "--1", "1e", "1" * 401)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "field",
    ["num_leaves", "left_child", "right_child", "split_feature", "decision_type", "leaf_count",
     "max_feature_idx", "tree_sizes", "label_index"],
)  # fmt: skip
def test_whole_numbers_have_one_form(field: str, number: str) -> None:
    # Python and LightGBM read any other form differently.
    text = re.sub(rf"^{field}=\S+", f"{field}={number}", model_text(), count=1, flags=re.MULTILINE)
    text = _correct_sizes(text) if field != "tree_sizes" else text
    assert problem(text.encode(errors="replace"), FEATURE_COUNT) is not None or number == "-0"


@pytest.mark.parametrize("number", REALS)
@pytest.mark.parametrize(
    "field",
    ["threshold", "leaf_value", "leaf_weight", "split_gain", "internal_value", "shrinkage"],
)
def test_numbers_have_one_form(field: str, number: str) -> None:
    text = re.sub(rf"^{field}=\S+", f"{field}={number}", model_text(), count=1, flags=re.MULTILINE)
    is_unsound = problem(_correct_sizes(text).encode(), FEATURE_COUNT) is not None
    # LightGBM writes inf where a split only separates missing values from the rest.
    assert is_unsound is ((field, number) != ("threshold", "inf"))


@pytest.mark.parametrize(
    ("old_text", "new_text"),
    [
        ("num_cat=0\n", "num_cat=0\ncat_threshold=9\n"),
        ("num_cat=0\n", "num_cat=0\r\n"),
        ("num_cat=0\n", "num_cat=0\x0bx\n"),
        ("num_cat=0\n", "num_cat=0\x00\n"),
        ("objective=binary sigmoid:1", "objective=binary sigmoid:1;x"),
        ("feature_names=Column_0 Column_1", "feature_names=Column_0"),
        ("feature_infos=", "feature_infos=none "),
        ("feature_infos=", "monotone_constraints=1 2 3\nfeature_infos="),
        ("feature_infos=", "forced=1\nfeature_infos="),
    ],
)
def test_only_the_known_grammar_passes(old_text: str, new_text: str) -> None:
    assert old_text in model_text()
    text = _correct_sizes(model_text().replace(old_text, new_text, 1))
    assert problem(text.encode(), FEATURE_COUNT) is not None


def test_tree_that_is_too_deep_is_refused() -> None:
    assert problem(_chain(900).encode(), 1) is None
    assert "deeper" in str(problem(_chain(1_100).encode(), 1))


def test_deep_tree_that_passes_is_loaded_and_predicts(tmp_path: Path) -> None:
    path = tmp_path / "deep.txt"
    path.write_text(_chain(900))
    assert isolated_model_problem(path, 1) is None


def _chain(depth: int) -> str:
    """Return a model of one tree in which each split hangs under the last."""
    splits = range(depth)
    fields = {
        "num_leaves": depth + 1,
        "num_cat": 0,
        "split_feature": _line(0 for _ in splits),
        "split_gain": _line(1 for _ in splits),
        "threshold": _line(splits),
        "decision_type": _line(2 for _ in splits),
        "left_child": _line(~split for split in splits),
        "right_child": _line([*range(1, depth), ~depth]),
        "leaf_value": _line(range(depth + 1)),
        "is_linear": 0,
        "shrinkage": 1,
    }
    tree = "Tree=0\n" + "".join(f"{name}={value}\n" for name, value in fields.items()) + "\n\n"
    head = (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n"
        "max_feature_idx=0\nobjective=regression\nfeature_names=a\nfeature_infos=[0:1]\n"
    )
    end = "end of trees\n\nfeature_importances:\n\nparameters:\nend of parameters\n"
    return f"{head}tree_sizes={len(tree)}\n\n{tree}{end}"


def _line(values: Iterable[int]) -> str:
    return " ".join(map(str, values))


@settings(max_examples=cases(25), deadline=None)
@given(data=st.data())
def test_changed_model_is_refused_or_predicts(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Fuzzing: bytes are replaced, doubled or taken out anywhere before the end of the trees.
    text = model_text()
    end = text.index("end of trees")
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(5, end - 1))
        length = data.draw(st.integers(0, 3))
        replacement = data.draw(st.text(st.sampled_from("0123456789-.e =\nx_"), max_size=3))
        text = text[:start] + replacement + text[start + length :]
    path = tmp_path_factory.mktemp("changed") / "model.txt"
    path.write_text(_correct_sizes(text))
    if problem(path.read_bytes(), FEATURE_COUNT) is None:
        assert (isolated_model_problem(path, FEATURE_COUNT) or "not ").startswith("not ")


def test_model_that_crashes_its_reader_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This loader aborts as the library does for some models.
    (tmp_path / "sitecustomize.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = tmp_path / "model.txt"
    path.write_text(model_text())
    assert "ends the process that reads it" in str(isolated_model_problem(path, FEATURE_COUNT))


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_model(data: bytes) -> None:
    assert problem(data, FEATURE_COUNT) is not None
    assert problem(model_text().encode()[: len(data) * 20], FEATURE_COUNT) is not None
