"""Folder of trained models: NAME/VERSION/ with `model.txt` and `manifest.json`."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from pipeline.decisioning.model_manifest import (
    ModelManifest,
    manifest_bytes,
    manifest_from,
)

MODEL: Final = "model.txt"
MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """Text model with its manifest, whose version is 0 until it is stored."""

    manifest: ModelManifest
    text: str


@dataclass(frozen=True, slots=True)
class StoredModel:
    """Model in a folder."""

    manifest: ModelManifest
    folder: Path

    @property
    def model(self) -> Path:
        """File of the model's text."""
        return self.folder / MODEL

    @property
    def manifest_file(self) -> Path:
        """File of the manifest."""
        return self.folder / MANIFEST


def digest_of_text(text: str) -> str:
    """Return the SHA-256 of a model, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_model(model: TrainedModel, folder: Path) -> StoredModel:
    """Write a model into NAME/VERSION/ of `folder`, its manifest last. Raises OSError.

    The model gets the next version; a model that equals a stored one keeps that version.
    """
    versions = [
        entry for entry in read_models(folder) if entry.manifest.name == model.manifest.name
    ]
    for entry in versions:
        if replace(entry.manifest, version=0, trained_at=0) == replace(
            model.manifest, trained_at=0
        ):
            return entry
    version = 1 + max((entry.manifest.version for entry in versions), default=0)
    manifest = replace(model.manifest, version=version)
    target = folder / manifest.name / str(version)
    target.mkdir(parents=True, exist_ok=True)
    stored_model = StoredModel(manifest, target)
    for file, data in (
        (stored_model.model, model.text.encode()),
        (stored_model.manifest_file, manifest_bytes(manifest)),
    ):
        draft = file.with_name(f".{file.name}")
        draft.write_bytes(data)
        draft.replace(file)
    return stored_model


def read_models(folder: Path) -> Iterator[StoredModel]:
    """Yield the models of a folder, by name and version; other files are left out."""
    results = (_read_model(file) for file in folder.glob(f"*/*/{MANIFEST}"))
    models = [model for model in results if isinstance(model, StoredModel)]
    yield from sorted(models, key=lambda model: (model.manifest.name, model.manifest.version))


def find_model_damage(folder: Path) -> Iterator[str]:
    """Yield the faults of damaged models of a folder, with the file at fault."""
    for file in sorted(folder.glob(f"*/*/{MANIFEST}")):
        model = _read_model(file)
        if isinstance(model, str):
            yield f"{file}: {model}"
            continue
        try:
            text = model.model.read_bytes()
        except OSError as error:
            yield f"{model.model}: cannot be read: {error.strerror}"
            continue
        if hashlib.sha256(text).hexdigest() != model.manifest.digest:
            yield f"{model.model}: is not the model that was written: train it again"


def _read_model(manifest_file: Path) -> StoredModel | str:
    """Return the model, or the fault of its manifest."""
    try:
        manifest = manifest_from(manifest_file.read_bytes())
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return manifest if isinstance(manifest, str) else StoredModel(manifest, manifest_file.parent)
