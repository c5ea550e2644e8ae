"""Report of the supervisor about its children: one file, replaced at every change."""

from pathlib import Path

from msgspec import Struct, field

from pipeline.adapters.private_files import make_folder
from pipeline.adapters.process_identity import ProcessHandle
from pipeline.adapters.run_state import read_json, run_folder, write_json
from pipeline.stack.plan import ProcessPlan


class SupervisedProcess(Struct, frozen=True):
    """Child of the supervisor. `process` None: it was not started yet, or it exited and will be
    restarted; `last_exit`: its last exit code."""

    process: ProcessHandle | None = None
    restarts: int = 0
    last_exit: int | None = None


class Supervision(Struct, frozen=True):
    """Supervisor, and its children by name."""

    supervisor: ProcessHandle
    children: dict[str, SupervisedProcess] = field(default_factory=dict)


def read_plan(home: Path) -> ProcessPlan | None:
    """Return the plan; None if no stack was ever started here."""
    return read_json(run_folder(home) / "plan.json", ProcessPlan)


def write_plan(home: Path, plan: ProcessPlan) -> None:
    make_folder(home, run_folder(home))
    write_json(run_folder(home) / "plan.json", plan)


def read_supervision(home: Path) -> Supervision | None:
    """Return the report of the last supervisor, which may have died since."""
    return read_json(run_folder(home) / "supervision.json", Supervision)


def write_supervision(home: Path, supervision: Supervision) -> None:
    make_folder(home, run_folder(home))
    write_json(run_folder(home) / "supervision.json", supervision)


def clear_supervision(home: Path) -> None:
    (run_folder(home) / "supervision.json").unlink(missing_ok=True)
