"""Export of all profiles as three Parquet files, for DuckDB and the like.

`profiles.parquet`: profile_id, attributes, metrics (both JSON text: `attributes->>'plan'` in
DuckDB; their names and types differ from profile to profile). Metrics are counts, sums, averages,
distinct counts, traits with a window, and built-in traits; the others are attributes.
`identifiers.parquet`: profile_id, namespace, value.
`memberships.parquet`: profile_id, segment, entered_at (UTC).
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.conditions.tree import is_hidden
from pipeline.config.model import Trait
from pipeline.config.names import BUILT_IN_TRAITS, approximate, is_address, since_trait
from pipeline.model.interaction import Identifier, Known
from pipeline.model.profile import Profile
from pipeline.rollout.member_profiles import MemberProfile

_PROFILES = pa.schema(
    [("profile_id", pa.string()), ("attributes", pa.string()), ("metrics", pa.string())]
)
_IDENTIFIERS = pa.schema(
    [("profile_id", pa.string()), ("namespace", pa.string()), ("value", pa.string())]
)
_MEMBERSHIPS = pa.schema(
    [
        ("profile_id", pa.string()),
        ("segment", pa.string()),
        ("entered_at", pa.timestamp("ms", tz="UTC")),
    ]
)
_METRIC_RULES: Final = ("count", "sum", "avg", "distinct")
_CHUNK: Final = 10_000

_Row: TypeAlias = dict[str, Any]


class ExportCounts(msgspec.Struct, frozen=True):
    """Rows written to each file."""

    profiles: int
    identifiers: int
    memberships: int


def export_all(
    people: Iterable[MemberProfile], declared: Iterable[Trait], out: Path
) -> ExportCounts:
    """Write the three files into `out`, a chunk at a time; existing files are replaced."""
    out.mkdir(parents=True, exist_ok=True)
    metrics = frozenset(metric_names(declared))
    with (
        _table(out / "profiles.parquet", _PROFILES) as profiles,
        _table(out / "identifiers.parquet", _IDENTIFIERS) as identifiers,
        _table(out / "memberships.parquet", _MEMBERSHIPS) as memberships,
    ):
        for person in people:
            profiles.add(_profile(person.profile, metrics))
            for row in _identifiers(person.profile):
                identifiers.add(row)
            for row in _members(person):
                memberships.add(row)
    return ExportCounts(profiles.rows, identifiers.rows, memberships.rows)


def metric_names(declared: Iterable[Trait]) -> Iterator[str]:
    """Yield the names of traits that are metrics; every other trait is an attribute."""
    yield from BUILT_IN_TRAITS
    for trait in declared:
        if trait.window is not None or trait.rule in _METRIC_RULES:
            yield from (trait.name, approximate(trait.name), since_trait(trait.name))


def _profile(profile: Profile, metrics: frozenset[str]) -> _Row:
    shown = {name: value for name, value in profile.traits.items() if _is_shown(name)}
    return {
        "profile_id": profile.profile_id,
        "attributes": _json({k: v for k, v in shown.items() if k not in metrics}),
        "metrics": _json({k: v for k, v in shown.items() if k in metrics}),
    }


def _is_shown(trait: str) -> bool:
    """Return whether a trait is exported; identifiers have a file of their own."""
    return not (is_hidden(trait) or is_address(trait))


def _json(traits: Mapping[str, Known]) -> str:
    return msgspec.json.encode(traits).decode()


def _identifiers(profile: Profile) -> Iterator[_Row]:
    for one in map(Identifier.parse, profile.identifiers):
        yield {"profile_id": profile.profile_id, "namespace": one.namespace, "value": one.value}


def _members(person: MemberProfile) -> Iterator[_Row]:
    for segment, entered_at in sorted(person.members.items()):
        key = person.profile.profile_id
        yield {"profile_id": key, "segment": segment, "entered_at": entered_at}


class _Table:
    """Parquet file that is written a chunk of rows at a time."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self.rows = 0
        self._writer = writer
        self._schema = schema
        self._chunk: list[_Row] = []

    def add(self, row: _Row) -> None:
        self.rows += 1
        self._chunk.append(row)
        if len(self._chunk) == _CHUNK:
            self.write()

    def write(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._chunk, self._schema))
        self._chunk = []


@contextmanager
def _table(file: Path, schema: pa.Schema) -> Iterator[_Table]:
    with pq.ParquetWriter(file, schema) as writer:
        table = _Table(writer, schema)
        yield table
        table.write()
