"""The documents agree with the code."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.readme import ROOT, TABLES, text_with_tables, unknown_parts

_DOCUMENTS = [
    Path(line)
    for line in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
]
_MAX_FIRST_PAGE_WORDS = 900


@pytest.mark.parametrize("document", sorted(set(TABLES.values())), ids=lambda d: d.parent.name)
def test_tables_equal_those_made_from_the_code(document: Path) -> None:
    assert text_with_tables(document) == document.read_text(), (
        "run `python -m tests.support.readme`"
    )


@pytest.mark.parametrize("document", _DOCUMENTS, ids=str)
def test_every_linked_file_exists(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", (ROOT / document).read_text())
    missing_files = [link for link in links if not (ROOT / document.parent / link).exists()]
    assert not missing_files


@pytest.mark.parametrize("document", _DOCUMENTS, ids=str)
def test_every_named_make_target_exists(document: Path) -> None:
    targets = set(re.findall(r"`make ([a-z]+)`", (ROOT / document).read_text()))
    make_targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets <= make_targets


@pytest.mark.parametrize("document", _DOCUMENTS, ids=str)
def test_every_named_command_and_option_exists(document: Path) -> None:
    text, _, _ = (ROOT / document).read_text().partition("## What is not there yet")
    commands = re.findall(r"(?:`|^(?:\.venv/bin/)?)(kairos [a-z][^`\n|#]*)", text, re.MULTILINE)
    assert [line for line in commands if unknown_parts(line)] == []


def test_unknown_commands_and_options_are_found() -> None:
    assert unknown_parts("kairos dance --json") == ["dance"]
    assert unknown_parts("kairos dlq fry 0-1") == ["dlq fry"]
    assert unknown_parts("kairos dlq list --jason --limit 3") == ["--jason"]


def test_first_page_is_short_and_leads_to_the_others() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= _MAX_FIRST_PAGE_WORDS
    assert "deploy/README.md" in text
