"""Packages that Kairos needs may be used and deployed by anybody, or are listed with a reason."""

from pathlib import Path

import pytest

from tests.support.licences import REASONS, is_allowed, licences, locked_packages


def test_lock_contains_known_packages() -> None:
    assert {"aiohttp", "faust-streaming", "numpy", "yarl"} <= set(locked_packages())


@pytest.mark.parametrize("package", locked_packages())
def test_package_has_an_allowed_licence_or_a_reason(package: str) -> None:
    names = licences(package)
    if names is None:
        pytest.skip("not for this platform")
    assert names
    refused_licences = [licence for licence in names if not is_allowed(licence)]
    assert not refused_licences or package in REASONS, f"{package}: {refused_licences}"


def test_every_reason_is_needed() -> None:
    assert REASONS.keys() <= set(locked_packages())
    for package in REASONS:
        assert not all(map(is_allowed, licences(package) or ())), package


@pytest.mark.parametrize(
    ("licence_text", "expected"),
    [
        ("License-Expression: MIT AND (Apache-2.0 OR BSD-3-Clause)", True),
        ("License-Expression: MIT AND AGPL-3.0-only", False),
        ("Classifier: License :: OSI Approved :: MIT License\nLicense: whatever", True),
        ("Classifier: License :: OSI Approved :: GNU Affero General Public License v3", False),
        ("License: Business Source License 1.1", False),
        ("Summary: says nothing", False),
    ],
)
def test_licences_are_read_from_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, licence_text: str, expected: bool
) -> None:
    folder = tmp_path / "strange_thing-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Name: strange-thing\nVersion: 1.0\n{licence_text}\n\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert all(map(is_allowed, licences("strange-thing") or [""])) is expected
