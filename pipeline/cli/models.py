"""`kairos models`: trained models, the ones in force, and snapshots of the learner's evidence."""

import getpass
from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka import KafkaException
from msgspec import Struct

from pipeline.adapters.learned_file import write_learned
from pipeline.adapters.learning_follower import LearningLogError
from pipeline.adapters.model_registry import ModelFiles, ModelRegistry
from pipeline.adapters.propensity_model import model_misfit
from pipeline.cli.console import JsonOption, err, fail, out, print_json, print_table
from pipeline.cli.plain import plain
from pipeline.cli.times import iso
from pipeline.cli.train import print_manifest
from pipeline.config.learned import learned_file
from pipeline.decisioning.model_manifest import ModelManifest
from pipeline.home.applied_configuration import applied_configuration
from pipeline.home.codec import open_codec
from pipeline.learner.snapshots import newest_snapshot
from pipeline.model.learning import ModelVersion
from pipeline.settings import NoBrokerError, Settings
from pipeline.training.model_folder import StoredModel, find_model_damage, read_models

app = typer.Typer()

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")]
VersionOption = Annotated[
    int | None, typer.Option("--version", help="Version of the model. Default: the newest.")
]
FolderOption = Annotated[
    Path | None,
    typer.Option("--models", metavar="DIR", help="Folder of models; default: HOME/models."),
]


class ListedModel(Struct, frozen=True):
    """Trained version; `in_force` None: unknown, because no broker answers."""

    name: str
    version: int
    kind: str
    trained_at: int
    examples: int
    log_loss: float
    auc: float | None
    calibration_error: float
    in_force: bool | None


class ModelChange(Struct, frozen=True):
    """Version of a model that is in force from now on; None: none is."""

    name: str
    version: int | None


class WrittenSnapshot(Struct, frozen=True):
    """Snapshot in a file; `treatments`: number of treatments with evidence, counted once for each
    context bin."""

    file: str
    number: int
    treatments: int


@app.command("list")
def list_models(folder: FolderOption = None, json: JsonOption = False) -> None:
    """List the trained models, and show which are in force."""
    settings = Settings()
    versions_in_force = _find_versions_in_force(settings)
    entries = [
        _listed_model(model.manifest, versions_in_force) for model in _load_models(settings, folder)
    ]
    if json:
        print_json(entries)
        return
    columns = ("name", "version", "kind", "trained", "log loss", "AUC", "calibration", "in force")
    rows = [
        (
            model.name,
            model.version,
            model.kind,
            iso(model.trained_at),
            f"{model.log_loss:.4f}",
            "-" if model.auc is None else f"{model.auc:.4f}",
            f"{model.calibration_error:.4f}",
            {True: "yes", False: "", None: "?"}[model.in_force],
        )
        for model in entries
    ]
    print_table("models", columns, rows)


@app.command()
def show(
    name: NameArgument,
    version: VersionOption = None,
    folder: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Show a model's manifest: features, data, metrics."""
    manifest = _find(Settings(), folder, name, version).manifest
    if json:
        print_json(manifest)
        return
    print_manifest(manifest)
    out.print("features: " + ", ".join(map(str, manifest.features)), soft_wrap=True)


@app.command()
def promote(
    name: NameArgument,
    version: VersionOption = None,
    folder: FolderOption = None,
    json: JsonOption = False,
) -> None:
    """Put a propensity model into force: agents load it between two interactions.

    A damaged model is refused, and so is one with features that the configuration in force does not
    have.
    """
    settings = Settings()
    model = _find(settings, folder, name, version)
    manifest = model.manifest
    if manifest.kind != "propensity":
        fail(f"{manifest.label} is a {manifest.kind}: `kairos config apply` puts it into force")
    config = applied_configuration(settings)
    misfit = None if config is None else model_misfit(manifest, config)
    if misfit is not None:
        fail(f"{manifest.label} is refused: {misfit}")
    files = ModelFiles(model.model, model.manifest_file)
    try:
        refusal = _open_registry(settings).promote(manifest, files, getpass.getuser())
    except (LearningLogError, OSError) as error:
        fail(str(error))
    if refusal is not None:
        fail(f"{manifest.label} is refused: {refusal}")
    _print_change(ModelChange(name, manifest.version), json)


@app.command()
def rollback(name: NameArgument, json: JsonOption = False) -> None:
    """Restore the version that was in force before; if there is none, withdraw the model."""
    try:
        restored_version = _open_registry(Settings()).roll_back(name, getpass.getuser())
    except (LookupError, ValueError, LearningLogError) as error:
        fail(str(error.args[0]))
    _print_change(
        ModelChange(name, None if restored_version is None else restored_version.version), json
    )


@app.command()
def snapshot(
    file: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help="File to write or replace: learned.yaml in a folder of configuration.",
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Write the newest snapshot of the learner's evidence to learned.yaml of a configuration.

    With it, and `learning: {frozen: true}` in policies.yaml, decisions use this snapshot alone.
    """
    settings = Settings()
    try:
        record = newest_snapshot(settings.kafka(), open_codec(settings))
    except (NoBrokerError, KafkaException) as error:
        fail(str(error))
    if record is None:
        fail("there is no snapshot yet: `kairos learner` publishes one when it has evidence")
    content = learned_file(record)
    try:
        write_learned(file, content)
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    result = WrittenSnapshot(str(file), content.number, len(content.evidence))
    if json:
        print_json(result)
    else:
        out.print(f"snapshot {result.number}: {result.treatments} treatments in {result.file}")


def _print_change(change: ModelChange, json: bool) -> None:
    if json:
        print_json(change)
    elif change.version is None:
        out.print(
            f"{change.name} is withdrawn: the probabilities that campaigns declare count again"
        )
    else:
        out.print(f"{change.name}@{change.version} is in force")


def _listed_model(
    manifest: ModelManifest, versions_in_force: dict[str, ModelVersion] | None
) -> ListedModel:
    promoted_version = None if versions_in_force is None else versions_in_force.get(manifest.name)
    return ListedModel(
        name=manifest.name,
        version=manifest.version,
        kind=manifest.kind,
        trained_at=manifest.trained_at,
        examples=manifest.data.examples,
        log_loss=manifest.metrics.log_loss,
        auc=manifest.metrics.auc,
        calibration_error=manifest.metrics.calibration_error,
        in_force=None
        if versions_in_force is None
        else promoted_version is not None and promoted_version.version == manifest.version,
    )


def _load_models(settings: Settings, folder: Path | None) -> list[StoredModel]:
    """Return the models of the folder, and report damaged ones on stderr."""
    if folder is not None and not folder.is_dir():
        fail(f"{folder}: there is no such folder of models")
    model_folder = folder or settings.home / "models"
    for damage in find_model_damage(model_folder):
        err.print(plain(damage), soft_wrap=True)
    return list(read_models(model_folder))


def _find(settings: Settings, folder: Path | None, name: str, version: int | None) -> StoredModel:
    stored_models = _load_models(settings, folder)
    versions = [model for model in stored_models if model.manifest.name == name]
    matches = [model for model in versions if version in (None, model.manifest.version)]
    if not matches:
        labels = ", ".join(model.manifest.label for model in versions or stored_models) or "none"
        fail(f"no model {name if version is None else f'{name}@{version}'}; there are: {labels}")
    return matches[-1]


def _open_registry(settings: Settings) -> ModelRegistry:
    return ModelRegistry(settings.kafka(), open_codec(settings), settings.kept_artifacts())


def _find_versions_in_force(settings: Settings) -> dict[str, ModelVersion] | None:
    try:
        return _open_registry(settings).versions_in_force()
    except (NoBrokerError, LearningLogError):
        return None
