"""Trial of an untrusted file in a separate process, with limited time and memory.

A native library that reads the file may abort, loop or exhaust memory; then only the separate
process ends.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pipeline.adapters.geo import geo_problem
from pipeline.adapters.models import model_problem

_MAX_CPU_S: Final = 30
_TIMEOUT_S: Final = 60.0
_MAX_MEMORY_BYTES: Final = 4 << 30


def isolated_model_problem(file: Path, feature_count: int) -> str | None:
    """Return the problem of a model, found in a separate process; None: it has none."""
    return _run_isolated("model", str(file), str(feature_count))


def isolated_geo_problem(file: Path) -> str | None:
    """Return the problem of a geo database, found in a separate process; None: it has none."""
    return _run_isolated("geo", str(file))


def _run_isolated(*arguments: str) -> str | None:
    try:
        process = subprocess.run(
            [sys.executable, "-m", "pipeline.adapters.trial", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        return f"not usable: reading it takes more than {_TIMEOUT_S:.0f} s"
    try:
        problem: str | None = json.loads(process.stdout.rpartition(b"\n")[2])
    except ValueError:
        return f"not usable: it ends the process that reads it (code {process.returncode})"
    return problem


_TRIALS: Final[Mapping[str, Callable[..., str | None]]] = {
    "model": lambda file, feature_count: model_problem(Path(file), int(feature_count)),
    "geo": lambda file: geo_problem(Path(file)),
}


def _main(kind: str, *arguments: str) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_S, _MAX_CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        problem = _TRIALS[kind](*arguments)
    except MemoryError:
        problem = "not usable: reading it takes too much memory"
    # The library may have printed other lines: the answer is the last line.
    sys.stdout.write("\n" + json.dumps(problem))


if __name__ == "__main__":
    _main(*sys.argv[1:])
