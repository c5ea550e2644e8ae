"""Jars of Kafka: pinned by digest, downloaded once from Maven Central into a shared cache."""

import fcntl
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.broker.options import BrokerError

PINS = Path(__file__).resolve().parents[3] / "deploy" / "kafka"
_MAX_PARALLEL_DOWNLOADS = 8
_DOWNLOAD_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class PinnedJar:
    """Line of jars.lock."""

    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def path(self) -> Path:
        """Path of the jar in a Maven repository."""
        folder = Path(*self.group.split("."), self.artifact, self.version)
        return folder / f"{self.artifact}-{self.version}.jar"


def pinned_jars(lock_file: Path = PINS / "jars.lock") -> tuple[PinnedJar, ...]:
    """Return the jars of jars.lock, in class path order."""
    lines = lock_file.read_text().splitlines()
    pins = (line.split() for line in lines if not line.startswith("#"))
    return tuple(PinnedJar(sha256, *coordinates.split(":")) for sha256, coordinates in pins)


def ensure_jars(
    cache_dir: Path, jars: tuple[PinnedJar, ...], repository_url: str | None = None
) -> list[Path]:
    """Return local paths of the jars, each checked against its digest; download missing ones.

    `repository_url`: a mirror to download from, None for Maven Central. Raises BrokerError naming
    the jar that cannot be downloaded or does not match its digest.
    """
    repository = _Repository(cache_dir.absolute() / "maven", repository_url)
    repository.cache.mkdir(parents=True, exist_ok=True)
    with (
        _lock(repository.cache / ".lock"),
        ThreadPoolExecutor(_MAX_PARALLEL_DOWNLOADS) as workers,
    ):
        return list(workers.map(repository.ensure, jars))


@dataclass(frozen=True, slots=True)
class _Repository:
    """Jars at `url` (None: Maven Central), cached in `cache`."""

    cache: Path
    url: str | None

    def ensure(self, jar: PinnedJar) -> Path:
        path = self.cache / jar.path
        if path.exists() and _digest(path) == jar.sha256:
            return path
        path.unlink(missing_ok=True)  # an incomplete download
        self._download(jar)
        digest = _digest(path)
        if digest != jar.sha256:
            path.unlink()
            raise BrokerError(
                f"{path.name} does not have its pinned digest (expected sha256 {jar.sha256}, "
                f"downloaded {digest}); it was deleted, nothing was started"
            )
        return path

    def _download(self, jar: PinnedJar) -> None:
        from jgo.maven import MavenContext
        from requests import RequestException

        maven = MavenContext(
            repo_cache=self.cache,
            local_repos=[],
            remote_repos={"mirror": self.url} if self.url else None,
            timeout=_DOWNLOAD_TIMEOUT_S,
        )
        try:
            maven.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
        except (RequestException, RuntimeError) as error:
            raise BrokerError(
                f"cannot download {jar.path.name} ({type(error).__name__}): connect to the network "
                "once, set KAIROS_MAVEN_REPOSITORY to a mirror of Maven Central, or copy "
                f"{self.cache} from a machine that has it"
            ) from error
        except OSError as error:
            raise BrokerError(
                f"cannot write {jar.path.name} to {self.cache}: {error.strerror or error}; "
                "correct that, or set KAIROS_CACHE_DIR to another disk"
            ) from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _lock(lock_file: Path) -> Iterator[None]:
    """Hold a lock, so that one process downloads at a time, and others use its jars."""
    with lock_file.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
