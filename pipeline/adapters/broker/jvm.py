"""Command lines that run Kafka: class path, heap, and an archive of loaded classes."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.broker.jars import PINS
from pipeline.adapters.broker.java import Java
from pipeline.adapters.broker.options import BrokerFiles

_SERVER_FLAGS = (
    "-Xms256m",
    "-Xmx512m",
    "-Xmn64m",
    "-XX:+UseParallelGC",
    "-XX:ParallelGCThreads=2",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
)
"""Flags of the server: ParallelGC with a small young generation pauses least on two cores."""

_TOOL_FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True, slots=True)
class KafkaJvm:
    """Java with Kafka's jars; `cache_dir` holds class archives that speed up later starts."""

    java: Java
    jars: list[Path]
    cache_dir: Path

    def server_command(self, files: BrokerFiles) -> list[str]:
        """Return the command that runs the broker until TERM.

        At its end the broker writes a class archive into the home, unless there is a shared one.
        """
        logging = (
            f"-Dlog4j2.configurationFile={PINS / 'log4j2.properties'}",
            f"-Dkairos.broker.log={files.log}",
        )
        archive_flag = f"-XX:ArchiveClassesAtExit={files.root / self._archive.name}"
        flags = (*_SERVER_FLAGS, *(self._shared_classes() or (archive_flag,)), *logging)
        return self._command(flags, "kafka.Kafka", str(files.properties))

    def format_command(self, files: BrokerFiles, cluster_id: str) -> list[str]:
        """Return the command that prepares an empty data directory."""
        # Joined by "=", since one id in 64 begins with "-", as an option does.
        arguments = (f"--cluster-id={cluster_id}", f"--config={files.properties}")
        flags = (*_TOOL_FLAGS, *self._shared_classes())
        return self._command(
            flags, "kafka.tools.StorageTool", "format", "--ignore-formatted", *arguments
        )

    def _command(self, flags: tuple[str, ...], main_class: str, *arguments: str) -> list[str]:
        class_path = os.pathsep.join(map(str, self.jars))
        return [str(self.java.executable), *flags, "-cp", class_path, main_class, *arguments]

    def _shared_classes(self) -> tuple[str, ...]:
        """Return the flag to load classes from the shared archive, if there is one."""
        return (f"-XX:SharedArchiveFile={self._archive}",) if self._archive.exists() else ()

    @property
    def _archive(self) -> Path:
        """Path of the archive, which fits one JVM, class path and set of the server's flags.

        The tool, which has other flags, uses it for the classes that both load.
        """
        inputs = (self.java.executable, self.java.version, *self.jars, *_SERVER_FLAGS)
        digest = hashlib.sha256("\n".join(map(str, inputs)).encode()).hexdigest()
        return _archives(self.cache_dir) / f"{digest[:16]}.jsa"


def publish_archives(files: BrokerFiles, cache_dir: Path) -> None:
    """Share the archive that a JVM wrote at its end, so that the next start is faster."""
    for archive in files.root.glob("*.jsa"):
        folder = _archives(cache_dir)
        folder.mkdir(parents=True, exist_ok=True)
        temporary_file = folder / f"{archive.name}.{os.getpid()}"
        shutil.move(archive, temporary_file)
        temporary_file.replace(folder / archive.name)


def discard_archives(files: BrokerFiles) -> None:
    """Remove unfinished archives of killed JVMs."""
    for archive in files.root.glob("*.jsa"):
        archive.unlink()


def _archives(cache_dir: Path) -> Path:
    return cache_dir.absolute() / "class-archives"
