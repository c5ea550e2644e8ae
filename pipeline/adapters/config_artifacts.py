"""Files named by a configuration's YAML, checked, and pinned by digest.

The bundle has the digest of each file, so that a recorded decision names exactly its inputs.
"""

from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from pipeline.adapters import model_text
from pipeline.adapters.artifacts import Artifacts, digest_of
from pipeline.adapters.folder_files import FileRefusal, find_file
from pipeline.adapters.geo import MAX_BYTES
from pipeline.adapters.trial import isolated_geo_problem, isolated_model_problem
from pipeline.conditions import Path as ValuePath
from pipeline.conditions import Problem
from pipeline.config.model import Bundle, Geo, Score


def pin_files(bundle: Bundle, folder: Path) -> Bundle | list[Problem]:
    """Return the bundle with the digests of the files that it names, or the problems found.

    Models and geo databases are tried in separate processes.
    """
    profile = bundle.profile
    geo = None if profile.enrichers.geo is None else _pin_geo(profile.enrichers.geo, folder)
    scores = [_pin_score(score, index, folder) for index, score in enumerate(profile.scores)]
    problems = [result for result in (geo, *scores) if isinstance(result, Problem)]
    if problems:
        return problems
    enrichers = replace(profile.enrichers, geo=geo)
    return replace(bundle, profile=replace(profile, enrichers=enrichers, scores=tuple(scores)))


def store_files(bundle: Bundle, folder: Path, artifacts: Artifacts) -> None:
    """Store, for the workers, the files of a bundle that was loaded from `folder`. Raises
    OSError."""
    geo = bundle.profile.enrichers.geo
    scores = bundle.profile.scores
    files = [(score.model, score.sha256, model_text.MAX_BYTES) for score in scores if score.model]
    if geo is not None:
        files.append((geo.database, geo.sha256, MAX_BYTES))
    for name, sha256, max_bytes in files:
        path = find_file(folder, name, max_bytes)
        if isinstance(path, FileRefusal) or artifacts.store(path) != sha256:
            raise OSError(f"{name} changed while it was applied: apply the folder again")


def _pin_geo(geo: Geo, folder: Path) -> Geo | Problem:
    path: ValuePath = ("profile", "enrichers", "geo")
    file = _File(folder, geo.database, geo.sha256, MAX_BYTES)
    problem = file.find_problem((*path, "database"), (*path, "sha256"))
    if problem is not None:
        return problem
    fault = isolated_geo_problem(file.path)
    if fault is not None:
        return Problem((*path, "database"), f"{geo.database} is {fault}")
    return replace(geo, sha256=digest_of(file.path))


def _pin_score(score: Score, index: int, folder: Path) -> Score | Problem:
    if score.model is None:
        return score
    path: ValuePath = ("profile", "scores", index)
    file = _File(folder, score.model, score.sha256, model_text.MAX_BYTES)
    problem = file.find_problem((*path, "model"), (*path, "sha256"))
    if problem is not None:
        return problem
    feature_count = len(score.features)
    fault = model_text.problem(file.path.read_bytes(), feature_count)
    fault = fault or isolated_model_problem(file.path, feature_count)
    if fault is not None:
        return Problem((*path, "model"), f"{score.model} is {fault}")
    return replace(score, sha256=digest_of(file.path))


@dataclass(frozen=True, slots=True)
class _File:
    """File named by a configuration; `sha256` None: any content."""

    folder: Path
    name: str
    sha256: str | None
    max_bytes: int

    @property
    def path(self) -> Path:
        return self.folder / self.name

    def find_problem(self, name_path: ValuePath, digest_path: ValuePath) -> Problem | None:
        """Return the problem of a file that is unreadable or has another digest; None: it has
        none."""
        path = find_file(self.folder, self.name, self.max_bytes)
        if isinstance(path, FileRefusal):
            return Problem(name_path, f"{self.name} {path.reason}")
        try:
            digest = digest_of(path)
        except OSError as error:
            return Problem(name_path, f"{self.name} cannot be read: {error.strerror}")
        if self.sha256 is not None and self.sha256 != digest:
            return Problem(digest_path, f"{self.name} is another file: its digest is {digest}")
        return None
