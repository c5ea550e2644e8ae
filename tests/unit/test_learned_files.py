"""Decisions use the snapshot in learned.yaml and no newer one; mistakes in the file are named."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agents.rulebook import Rulebook
from pipeline.adapters.config_files import load
from pipeline.adapters.learned_file import write_learned
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.config.learned import fixed_snapshot, learned_file
from pipeline.config.model import Bundle
from pipeline.model.learning import LearningRecord, Posterior, digest_of
from pipeline.rules import Rules
from pipeline.rules.knowledge import knowledge_of
from tests.support.worlds import rules

_DEMO = Path(__file__).parents[2] / "deploy" / "demo"
_POSTERIORS = (
    Posterior("loyalty", "", "", "", 12.5, 1.25, 14, 2),
    Posterior(
        "loyalty", "early-access", "early-access-hero", "buyers", 250.123456789, 30.5, 300, 40
    ),
)
_NEWER_RECORD = LearningRecord(99, digest_of(_POSTERIORS), 5, posteriors=_POSTERIORS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(_DEMO, tmp_path / "config"))


def _compile(folder: Path) -> Configuration:
    bundle = load(folder, {})
    assert isinstance(bundle, Bundle), bundle
    configuration = compile_bundle(bundle)
    assert isinstance(configuration, Configuration)
    return configuration


def test_written_snapshot_is_loaded_as_it_was_to_six_decimals(folder: Path) -> None:
    write_learned(folder / "learned.yaml", learned_file(_NEWER_RECORD))
    learning = _compile(folder).learning
    assert learning is not None
    assert learning.fixed_snapshot is not None
    rounded_posteriors = (_POSTERIORS[0], replace(_POSTERIORS[1], trials=250.123457))
    assert learning.fixed_snapshot.posteriors == rounded_posteriors
    assert learning.fixed_snapshot.number == 99
    assert learning.fixed_snapshot.digest == digest_of(rounded_posteriors)


def test_snapshot_is_part_of_the_configurations_digest(folder: Path) -> None:
    first_digest = _compile(folder).digest
    write_learned(folder / "learned.yaml", learned_file(_NEWER_RECORD))
    assert _compile(folder).digest != first_digest


class _Log:
    """Log with one configuration."""

    def __init__(self, config: Configuration) -> None:
        self._config = config

    def configuration_in_force(self) -> Configuration:
        return self._config

    def get(self, _: str) -> Configuration:
        return self._config


def _find_rules_in_force(
    folder: Path, load_rules: Callable[[Configuration], Rules]
) -> tuple[Rules, bool]:
    """Return the rules of a worker once a newer snapshot has come, and whether the worker draws."""
    log: Any = _Log(_compile(folder))
    book = Rulebook(log, load_rules, lambda: knowledge_of(_NEWER_RECORD))
    first_rules = asyncio.run(book.find(None))
    assert first_rules is not None
    book.refresh()
    later_rules = asyncio.run(book.find(None))
    assert later_rules is not None
    assert later_rules.chooser is not None
    assert first_rules.chooser is not None
    assert later_rules.chooser.snapshot == first_rules.chooser.snapshot
    return later_rules, book.may_decide_differently


def test_worker_uses_the_file_and_needs_no_learner(folder: Path) -> None:
    compiled_rules, does_draw = _find_rules_in_force(folder, lambda config: rules(config.bundle))
    bundle = compiled_rules.config.bundle
    assert bundle.learned is not None
    snapshot = fixed_snapshot(bundle.learned)
    assert compiled_rules.chooser is not None
    assert compiled_rules.chooser.snapshot == knowledge_of(snapshot).name
    # A redelivered input gets the same decision, so outputs need not wait for a commit.
    assert not does_draw
    assert not compiled_rules.config.needs_learner


def test_without_the_file_a_worker_takes_the_newest_snapshot(folder: Path) -> None:
    (folder / "learned.yaml").unlink()
    compiled_rules, does_draw = _find_rules_in_force(folder, lambda config: rules(config.bundle))
    assert compiled_rules.chooser is not None
    assert compiled_rules.chooser.snapshot == knowledge_of(_NEWER_RECORD).name
    assert does_draw
    assert compiled_rules.config.needs_learner


_LINE = "  - {campaign: loyalty, offer: early-access, treatment: early-access-hero"
_MISTAKES = [
    (", trials: 1, tried: 1}", ", trials: -1, tried: 1}", "-1 is too small"),
    (", trials: 1, tried: 1}", ", trials: 1, successes: 2, tried: 1}", "among trials"),
    (", trials: 1, tried: 1}", ", trials: 1, tried: 1, reached: 2}", "among tried"),
    ("number: 3", "number: 0", "0 is too small"),
    ("trials: 1, tried", "trails: 1, tried", "did you mean 'trials'?"),
]


@pytest.mark.parametrize(("old_text", "new_text", "words"), _MISTAKES)
def test_mistake_is_named_with_its_line(
    folder: Path, old_text: str, new_text: str, words: str
) -> None:
    text = f"number: 3\nevidence:\n{_LINE}, trials: 1, tried: 1}}\n"
    assert old_text in text
    (folder / "learned.yaml").write_text(text.replace(old_text, new_text))
    errors = load(folder, {})
    assert not isinstance(errors, Bundle)
    [error] = errors
    line = text[: text.index(old_text)].count("\n") + 1
    assert (error.file, error.line) == ("learned.yaml", line)
    assert words in error.message


def test_repeated_evidence_is_named(folder: Path) -> None:
    line = f"{_LINE}, trials: 1, tried: 1}}\n"
    (folder / "learned.yaml").write_text(f"number: 3\nevidence:\n{line}{line}")
    errors = load(folder, {})
    assert not isinstance(errors, Bundle)
    assert [(error.file, error.line) for error in errors] == [("learned.yaml", 4)]


def test_learned_file_without_frozen_learning_is_named(folder: Path) -> None:
    policies = folder / "policies.yaml"
    policies.write_text(policies.read_text().replace("frozen: true", "frozen: false"))
    errors = load(folder, {})
    assert not isinstance(errors, Bundle)
    [error] = errors
    assert error.file == "learned.yaml"
    assert "frozen: true" in error.message


def test_mistake_in_policies_is_no_mistake_of_the_learned_values(folder: Path) -> None:
    policies = folder / "policies.yaml"
    policies.write_text(policies.read_text().replace("frozen: true", "frozen: yess"))
    errors = load(folder, {})
    assert not isinstance(errors, Bundle)
    assert {error.file for error in errors} == {"policies.yaml"}


def test_evidence_of_a_campaign_that_is_gone_is_accepted(folder: Path) -> None:
    (folder / "campaigns" / "cart-recovery.yaml").unlink()
    assert "cart-recovery" in (folder / "learned.yaml").read_text()
    assert isinstance(load(folder, {}), Bundle)
