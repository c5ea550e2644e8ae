"""Completeness of files, so that none is taken while it is being written."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pipeline.conditions import duration_ms
from pipeline.config import model
from pipeline.ingest.journal import Stamp


def marker_of(rule: model.ReadyRule, name: str) -> str | None:
    """Return the name of a file's marker; None if it needs none."""
    if rule.by != "marker":
        return None
    return rule.marker.replace("{name}", name).replace("{stem}", name.partition(".")[0])


@dataclass(slots=True)
class FileReadiness:
    """Completeness of the files of a folder; `unchanged_since`: time (s, monotonic clock) since
    which each file has not changed."""

    rule: model.ReadyRule
    unchanged_since: dict[Stamp, float] = field(default_factory=dict)

    def select_ready_files(
        self,
        stamps: Iterable[Stamp],
        names: frozenset[str],
        now_s: float,
        unchanged_time_s: Callable[[Stamp], float],
    ) -> frozenset[Stamp]:
        """Return the complete files.

        `names`: names of all files of the folder; `now_s`: time of a monotonic clock.
        """
        all_stamps = list(stamps)
        self.unchanged_since = {
            stamp: self.unchanged_since.get(stamp, now_s) for stamp in all_stamps
        }
        return frozenset(
            stamp for stamp in all_stamps if self._is_ready(stamp, names, now_s, unchanged_time_s)
        )

    def _is_ready(
        self,
        stamp: Stamp,
        names: frozenset[str],
        now_s: float,
        unchanged_time_s: Callable[[Stamp], float],
    ) -> bool:
        marker = marker_of(self.rule, stamp.name)
        if marker is not None:
            return marker in names
        if self.rule.by == "rename":
            return True
        rest_s = self.rest_s
        return now_s - self.unchanged_since[stamp] >= rest_s or unchanged_time_s(stamp) >= rest_s

    @property
    def rest_s(self) -> float:
        """Time (s) that a file must rest."""
        return duration_ms(self.rule.after) / 1_000
