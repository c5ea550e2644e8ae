"""The README says what the code does."""

import re
from pathlib import Path

from tests.support.readme import README, with_tables

ROOT = README.parent


def test_its_tables_are_those_of_the_code() -> None:
    text = README.read_text()
    assert with_tables(text) == text, "run `python -m tests.support.readme`"


def test_every_file_that_it_names_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text())
    assert links
    missing = [link for link in links if not (ROOT / Path(link)).exists()]
    assert not missing


def test_every_target_that_it_names_is_in_the_makefile() -> None:
    targets = set(re.findall(r"`make ([a-z]+)`", README.read_text()))
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets <= known
