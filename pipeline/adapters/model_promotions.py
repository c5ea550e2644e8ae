"""Promotions of models, beside the artifacts: the versions in force at any time.

The topic `learning` keeps only the newest version of a model; this file keeps all, so that a model
can be rolled back, and a past decision rerun with the model that it names.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from pipeline.adapters.artifacts import Artifacts

_FILE: Final = "promotions.ndjson"


class Promotion(Struct, frozen=True):
    """Version of a model that came into force, or (`rolled_back`) was withdrawn.

    `digest` and `manifest` are those of its files; `at` is epoch ms.
    """

    name: str
    version: int
    digest: str
    manifest: str
    at: int
    by: str
    rolled_back: bool = False

    @property
    def label(self) -> str:
        """Name and version, in the form of a Decision."""
        return f"{self.name}@{self.version}"


_decode: Final = msgspec.json.Decoder(Promotion).decode


class Promotions:
    """File of promotions in the folder of artifacts."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._file: Path = artifacts.folder / _FILE

    def add(self, promotion: Promotion) -> None:
        """Append a promotion. Raises OSError."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab") as file:
            file.write(msgspec.json.encode(promotion) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def all_promotions(self) -> Iterator[Promotion]:
        """Yield all promotions, the oldest first; lines damaged by a crash are skipped."""
        if not self._file.exists():
            return
        for line in self._file.read_bytes().splitlines():
            try:
                yield _decode(line)
            except msgspec.MsgspecError:
                continue

    def stack(self, name: str) -> list[Promotion]:
        """Return the versions of a model that were promoted and not rolled back, oldest first.

        The last one is in force.
        """
        versions: list[Promotion] = []
        for promotion in self.all_promotions():
            if promotion.name == name and promotion.rolled_back:
                versions = versions[:-1]
            elif promotion.name == name:
                versions.append(promotion)
        return versions

    def find(self, label: str) -> Promotion | None:
        """Return the promotion of this name and version."""
        return next(
            (promotion for promotion in self.all_promotions() if promotion.label == label), None
        )
