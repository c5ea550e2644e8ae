"""Only regular files inside the folder are read, up to a limit of size."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.adapters.config_files import load
from pipeline.adapters.folder_files import FileRefusal, read_file
from pipeline.config.model import Bundle

DEMO = Path(__file__).parents[2] / "deploy" / "demo"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO, tmp_path / "a" / "config"))


def _write_outside(folder: Path) -> Path:
    outside_file = folder.parent.parent / "outside.yaml"
    outside_file.write_bytes((DEMO / "policies.yaml").read_bytes())
    return outside_file


def _make_fifo(path: Path) -> None:
    os.mkfifo(path)


def _link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _make_folder(path: Path) -> None:
    path.mkdir()


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def _link_outside(path: Path) -> None:
    path.symlink_to(_write_outside(path.parent))


def _make_huge_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _make_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere.yaml")


MAKERS = (
    _make_fifo,
    _link_to_device,
    _link_to_itself,
    _link_outside,
    _make_huge_file,
    _make_dangling_link,
)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["identity.yaml", "policies.yaml", "segments/new.yaml"])
@pytest.mark.parametrize("make", MAKERS)
def test_unusable_entry_is_an_error_with_its_name(
    folder: Path, name: str, make: Callable[[Path], None]
) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    make(path)
    errors = load(folder, {})
    assert isinstance(errors, list)
    assert [error.file for error in errors] == [name]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [*MAKERS, _make_folder])
@pytest.mark.parametrize("field", ["model", "database"])
def test_unusable_model_or_database_is_an_error_with_its_name(
    folder: Path, make: Callable[[Path], None], field: str
) -> None:
    make(folder / "named")
    _name_file(folder, field, "named")
    [error] = _load_errors(folder)
    assert error.startswith("profile.yaml:")
    assert ": named " in error


@pytest.mark.parametrize("field", ["model", "database"])
@pytest.mark.parametrize("name", ["/etc/hostname", "../config/profile.yaml", "a/../b", "\\0a", ""])
def test_name_that_is_no_file_of_the_folder_is_refused(folder: Path, field: str, name: str) -> None:
    _name_file(folder, field, name)
    [error] = _load_errors(folder)
    assert "is not a file of this folder" in error


def test_links_inside_the_folder_are_followed(folder: Path) -> None:
    # Kubernetes mounts configuration in this way.
    (folder / "..data").mkdir()
    (folder / "identity.yaml").rename(folder / "..data" / "identity.yaml")
    (folder / "identity.yaml").symlink_to("..data/identity.yaml")
    assert isinstance(load(folder, {}), Bundle)


def test_folder_of_too_many_files_is_refused(tmp_path: Path) -> None:
    for number in range(21):
        (tmp_path / str(number)).mkdir()
        for name in range(1_000):
            (tmp_path / str(number) / str(name)).touch()
    errors = load(tmp_path, {})
    assert isinstance(errors, list)
    assert "too many files" in str(errors[0])


def test_file_above_the_size_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 11)
    assert read_file(tmp_path, "a", 11) == b"x" * 11
    assert isinstance(read_file(tmp_path, "a", 10), FileRefusal)


def _name_file(folder: Path, field: str, name: str) -> None:
    profile = folder / "profile.yaml"
    if field == "model":
        section = f'scores:\n  - {{name: buys, model: "{name}", features: [views]}}\n'
    else:
        section = f'enrichers:\n  geo: {{database: "{name}"}}\n'
    profile.write_text(profile.read_text() + section)


def _load_errors(folder: Path) -> list[str]:
    errors = load(folder, {})
    assert isinstance(errors, list)
    return list(map(str, errors))


@pytest.mark.parametrize("kind", ["segments", "campaigns"])
@pytest.mark.parametrize("is_inside", [True, False])
def test_link_or_file_in_place_of_a_folder_is_an_error(
    folder: Path, kind: str, is_inside: bool
) -> None:
    for name in ("policies.yaml", "learned.yaml"):  # the deleted files name segments and campaigns
        (folder / name).unlink()
    for name in ("segments", "campaigns"):
        shutil.move(folder / name, (folder if is_inside else folder.parent) / f".{name}")
    assert isinstance(load(folder), Bundle)
    (folder / kind).symlink_to((folder if is_inside else folder.parent) / f".{kind}")
    message = f"{kind}:1:1: this is not a folder: put the folder itself there"
    assert _load_errors(folder) == [message]
    (folder / kind).unlink()
    (folder / kind).write_text("text")
    assert _load_errors(folder) == [message]
