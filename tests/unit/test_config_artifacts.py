"""Files that a configuration names: found, checked, named by digest, or refused by name."""

import shutil
from pathlib import Path

import pytest

from pipeline.adapters.artifacts import Artifacts, digest_of
from pipeline.adapters.config_artifacts import store_files
from pipeline.adapters.config_files import ConfigError, load
from pipeline.adapters.geo import open_places
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.config.model import Bundle
from pipeline.enrichment.enrichers import Place
from pipeline.home.load_rules import load_rules
from pipeline.rules import Rules
from pipeline.settings import Settings
from tests.support.geo_files import write_geo
from tests.support.trained import model_text

DEMO = Path(__file__).parents[2] / "deploy" / "demo"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Demo's configuration, with a geo database."""
    folder = Path(shutil.copytree(DEMO, tmp_path / "config"))
    write_geo(folder / "geo.mmdb")
    _use_database(folder, "geo.mmdb")
    return folder


@pytest.fixture
def folder_with_model(folder: Path) -> Path:
    """Demo's configuration, with a geo database and a model."""
    (folder / "models").mkdir()
    (folder / "models" / "buys.txt").write_text(model_text())
    score = "  - {name: buys, model: models/buys.txt, features: [views, purchases, %s]}\n"
    with (folder / "profile.yaml").open("a") as profile:
        profile.write("scores:\n" + score % "{days_since: last_cart_at}")
    return folder


def _use_database(folder: Path, database: str, more_settings: str = "") -> None:
    profile = (DEMO / "profile.yaml").read_text()
    geo = f"enrichers:\n  geo: {{database: {database}{more_settings}}}\n"
    trait = "  - {name: country, rule: latest, of: derived.country}\n"
    (folder / "profile.yaml").write_text(geo + profile + trait)


def _load_bundle(folder: Path) -> Bundle:
    bundle = load(folder, {})
    assert isinstance(bundle, Bundle), bundle
    return bundle


def _load_rules(bundle: Bundle, artifacts: Artifacts) -> Rules:
    config = compile_bundle(bundle)
    assert isinstance(config, Configuration)
    return load_rules(config, Settings(artifacts=artifacts.folder, secret="test" * 8))


def test_addresses_are_found_in_the_geo_database(tmp_path: Path) -> None:
    places = open_places(write_geo(tmp_path / "geo.mmdb"))
    assert not isinstance(places, str)
    assert places("192.0.2.1") == Place("ES", "Madrid", "Alcalá")
    assert places("2001:db8::7") == Place("ES", "Madrid", "Alcalá")
    assert places("192.0.2.200") == Place("DE")
    assert places("198.51.100.1") == Place()
    assert places("203.0.113.1") is None
    assert places("no address") is None
    assert places("192.0.2.1\0") is None


def test_bundle_names_its_files_by_digest(folder: Path, tmp_path: Path) -> None:
    bundle = _load_bundle(folder)
    geo = bundle.profile.enrichers.geo
    assert geo is not None
    assert geo.sha256 == digest_of(folder / "geo.mmdb")
    artifacts = Artifacts(tmp_path / "artifacts")
    for _ in range(2):
        store_files(bundle, folder, artifacts)
    assert [file.name for file in artifacts.folder.iterdir()] == [geo.sha256]
    [enricher] = _load_rules(bundle, artifacts).enrichers
    assert "country" in enricher.names


def test_another_file_of_the_same_name_is_another_configuration(folder: Path) -> None:
    bundle = _load_bundle(folder)
    with (folder / "geo.mmdb").open("ab") as file:
        file.write(b"\0")
    assert _load_bundle(folder) != bundle


@pytest.mark.parametrize(
    ("database", "more_settings", "place", "words"),
    [
        ("gone.mmdb", "", "gone.mmdb", "gone.mmdb cannot be read: No such file"),
        ("profile.yaml", "", "profile.yaml", "not a geo database in MaxMind's format"),
        ("geo.mmdb", f", sha256: {'a' * 64}", "a" * 64, "another file: its digest is"),
        ("geo.mmdb", ", sha256: abc", "abc", "not of the form"),
    ],
)
def test_wrong_file_is_reported_at_the_line_that_names_it(
    folder: Path, database: str, more_settings: str, place: str, words: str
) -> None:
    _use_database(folder, database, more_settings)
    errors = load(folder, {})
    assert isinstance(errors, list)
    [error] = errors
    assert isinstance(error, ConfigError)
    assert words in error.message
    line = (folder / "profile.yaml").read_text().splitlines()[error.line - 1]
    assert line[error.column - 1 :].startswith((place, "database", "sha256"))


def test_file_that_a_worker_lacks_is_reported_once_and_its_values_are_missing(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = _load_bundle(folder)
    artifacts = Artifacts(tmp_path / "artifacts")
    assert not _load_rules(bundle, artifacts).enrichers
    assert caplog.messages == ["no geo database"]

    store_files(bundle, folder, artifacts)
    [file] = artifacts.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    caplog.clear()
    assert not _load_rules(bundle, artifacts).enrichers
    assert caplog.messages == ["no geo database"]


def test_models_are_loaded_by_their_digest(
    folder_with_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = _load_bundle(folder_with_model)
    assert bundle.profile.scores[0].sha256 == digest_of(folder_with_model / "models" / "buys.txt")
    artifacts = Artifacts(tmp_path / "artifacts")
    assert not _load_rules(bundle, artifacts).scorers
    assert caplog.messages == ["no geo database", "no score"]
    store_files(bundle, folder_with_model, artifacts)
    scorer = _load_rules(bundle, artifacts).scorers["score.buys"]
    assert 0 < (scorer([1.0, 2.0, 3.0]) or 0) < 1


def test_unsound_model_is_reported_at_the_line_that_names_it(folder_with_model: Path) -> None:
    model = folder_with_model / "models" / "buys.txt"
    model.write_text(model.read_text().replace("num_cat=0", "num_cat=1", 1))
    errors = load(folder_with_model, {})
    assert isinstance(errors, list)
    [error] = errors
    assert "models/buys.txt is not a sound LightGBM text model" in error.message
    line = (folder_with_model / "profile.yaml").read_text().splitlines()[error.line - 1]
    assert line[error.column - 1 :].startswith("model")


def test_feature_that_is_no_trait_is_refused(folder_with_model: Path) -> None:
    profile = folder_with_model / "profile.yaml"
    profile.write_text(profile.read_text().replace("[views, purchases", "[score.buys, purchase"))
    errors = load(folder_with_model, {})
    assert isinstance(errors, list)
    reports = [error.message.partition(":")[0] for error in errors]
    assert reports == ["unknown trait 'score.buys'", "unknown trait 'purchase'"]


def test_worker_tries_a_model_in_another_process_before_loading(
    folder_with_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bundle = _load_bundle(folder_with_model)
    artifacts = Artifacts(tmp_path / "artifacts")
    store_files(bundle, folder_with_model, artifacts)
    (tmp_path / "sitecustomize.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert not _load_rules(bundle, artifacts).scorers
    assert "ends the process that reads it" in vars(caplog.records[0])["reason"]
    monkeypatch.delenv("PYTHONPATH")
    assert _load_rules(bundle, artifacts).scorers
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert _load_rules(bundle, artifacts).scorers, "a model is tried once for all processes"
