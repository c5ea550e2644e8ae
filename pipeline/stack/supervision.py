"""What the supervisor tells others about its children: one file, replaced at every change."""

from pathlib import Path

from msgspec import Struct, field

from pipeline.adapters.private_files import make_folder
from pipeline.adapters.process_identity import ProcessHandle
from pipeline.adapters.run_state import read_json, run_folder, write_json
from pipeline.stack.plan import Plan


class Child(Struct, frozen=True):
    """`process` None: it exited (with `last_exit`) and is about to be started again."""

    process: ProcessHandle | None = None
    restarts: int = 0
    last_exit: int | None = None


class Supervision(Struct, frozen=True):
    """The supervisor itself and its children by name."""

    supervisor: ProcessHandle
    children: dict[str, Child] = field(default_factory=dict)


def read_plan(home: Path) -> Plan | None:
    """None when no stack was ever started here."""
    return read_json(run_folder(home) / "plan.json", Plan)


def write_plan(home: Path, plan: Plan) -> None:
    make_folder(home, run_folder(home))
    write_json(run_folder(home) / "plan.json", plan)


def read_supervision(home: Path) -> Supervision | None:
    """What the last supervisor wrote; it may be dead since."""
    return read_json(run_folder(home) / "supervision.json", Supervision)


def write_supervision(home: Path, supervision: Supervision) -> None:
    make_folder(home, run_folder(home))
    write_json(run_folder(home) / "supervision.json", supervision)


def clear_supervision(home: Path) -> None:
    (run_folder(home) / "supervision.json").unlink(missing_ok=True)
