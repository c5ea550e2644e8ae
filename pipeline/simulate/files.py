"""World as files: the log of interactions, tables for analysts, and the truth.

Only one customer at a time and one sorted run of the log are in memory.
"""

import csv
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

import msgspec

from pipeline.simulate import tables
from pipeline.simulate.diary import START_MS, end_of
from pipeline.simulate.events import line
from pipeline.simulate.sorting import SortedLines
from pipeline.simulate.truth import statement
from pipeline.simulate.world import CustomerLife, WorldSize, customer_life

INTERACTIONS: Final = "interactions.ndjson"
TRUTH: Final = "truth.json"
TOUCHPOINTS: Final = "touchpoints.csv"
JOURNEYS: Final = "journeys.csv"
PROMPTS: Final = "prompts.csv"
GOALS: Final = "goals.csv"
POLICY: Final = "policy.csv"
NAMES: Final = (INTERACTIONS, TRUTH, TOUCHPOINTS, JOURNEYS, PROMPTS, GOALS, POLICY)

_PART_SUFFIX: Final = ".part"


@dataclass(frozen=True, slots=True)
class WrittenFiles:
    """Summary of the files; `policy_rows`: decisions logged for off-policy evaluation."""

    folder: str
    interactions: int
    persons: int
    policy_rows: int
    synthetic: bool = True


def write(size: WorldSize, folder: Path, progress: Callable[[int], None]) -> WrittenFiles:
    """Write the world's files into `folder`; they appear when all are complete.

    `progress` gets the number of customers written so far. Raises OSError if the folder cannot be
    written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with SortedLines(folder) as log, _TruthAndTables(folder, size) as files:
        for index in range(size.customers):
            life = customer_life(size, index, policy=True)
            if life.events:
                files.add(life)
            for event in life.events:
                log.add(event.at, line(event))
            progress(index + 1)
        with (folder / (INTERACTIONS + _PART_SUFFIX)).open("wb") as out:
            out.writelines(text + b"\n" for text in log)
        interactions = len(log)
    for name in NAMES:
        (folder / (name + _PART_SUFFIX)).replace(folder / name)
    return WrittenFiles(str(folder), interactions, files.persons, files.policy_rows)


class _TruthAndTables:
    """Writer of the tables and the truth, customer by customer."""

    def __init__(self, folder: Path, size: WorldSize) -> None:
        self.persons = 0
        self.policy_rows = 0
        self._folder = folder
        self._size = size
        self._end_ms = end_of(size.days)
        self._open_files = ExitStack()

    def __enter__(self) -> "_TruthAndTables":
        self._touchpoints = self._open_table(TOUCHPOINTS, tables.TOUCHPOINTS)
        self._journeys = self._open_table(JOURNEYS, tables.JOURNEYS)
        self._prompts = self._open_table(PROMPTS, tables.PROMPTS)
        self._goals = self._open_table(GOALS, tables.GOALS)
        self._policy = self._open_table(POLICY, tables.POLICY)
        self._truth: BinaryIO = self._open_files.enter_context(
            (self._folder / (TRUTH + _PART_SUFFIX)).open("wb")
        )
        self._truth.write(_head(self._size))
        return self

    def __exit__(self, *_: object) -> None:
        self._truth.write(b"\n}}\n")
        self._open_files.close()

    def add(self, life: CustomerLife) -> None:
        """Write one customer's rows and truth."""
        self._touchpoints.writerows(tables.touchpoints(life))
        self._journeys.writerows(tables.journeys(life))
        self._prompts.writerows(tables.prompts(life))
        self._goals.writerows(tables.goals(life))
        for row in tables.policy(life, self._end_ms):
            self._policy.writerow(row)
            self.policy_rows += 1
        names = [identifier.key for identifier in life.identifiers]
        person = msgspec.json.encode(life.profile_id) + b": " + msgspec.json.encode(names)
        self._truth.write((b",\n" if self.persons else b"\n") + person)
        self.persons += 1

    def _open_table(self, name: str, header: tables.Row) -> Any:
        file: TextIO = self._open_files.enter_context(
            (self._folder / (name + _PART_SUFFIX)).open("w", newline="", encoding="utf-8")
        )
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        return table


def _head(size: WorldSize) -> bytes:
    """Return the beginning of the truth, before its persons, who have a line each."""
    head = {
        "synthetic": True,
        "world": "bank",
        "seed": size.seed,
        "customers": size.customers,
        "days": size.days,
        "starts": tables.iso(START_MS),
        **statement(),
    }
    return msgspec.json.format(msgspec.json.encode(head), indent=1)[:-2] + b',\n"persons": {'
