"""Export of all profiles as three Parquet files, for DuckDB and the like.

`profiles.parquet`: profile_id, attributes, metrics (both JSON text: `attributes->>'plan'` in
DuckDB; their names and types differ from profile to profile). Metrics are counts, sums, averages,
distinct counts, traits with a window, and built-in traits; all other traits are attributes.
`identifiers.parquet`: profile_id, namespace, value.
`memberships.parquet`: profile_id, segment, entered_at (UTC).
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa

from pipeline.adapters.parquet_table import ParquetRow, open_table
from pipeline.conditions.tree import is_hidden
from pipeline.config.model import TraitDefinition
from pipeline.config.names import BUILT_IN_TRAITS, approximate_trait, is_address, since_trait
from pipeline.model.interaction import FactValue, Identifier
from pipeline.model.profile import Profile
from pipeline.profile_reads.member_profiles import MemberProfile

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


class ExportCounts(msgspec.Struct, frozen=True):
    """Numbers of rows written to each file."""

    profiles: int
    identifiers: int
    memberships: int


def export_all(
    people: Iterable[MemberProfile], definitions: Iterable[TraitDefinition], out: Path
) -> ExportCounts:
    """Write the three files into `out`, a chunk at a time; existing files are replaced."""
    out.mkdir(parents=True, exist_ok=True)
    metrics = frozenset(metric_names(definitions))
    with (
        open_table(out / "profiles.parquet", _PROFILES) as profiles,
        open_table(out / "identifiers.parquet", _IDENTIFIERS) as identifiers,
        open_table(out / "memberships.parquet", _MEMBERSHIPS) as memberships,
    ):
        for person in people:
            profiles.add(_profile(person.profile, metrics))
            for row in _identifiers(person.profile):
                identifiers.add(row)
            for row in _members(person):
                memberships.add(row)
    return ExportCounts(profiles.row_count, identifiers.row_count, memberships.row_count)


def metric_names(definitions: Iterable[TraitDefinition]) -> Iterator[str]:
    """Yield the names of traits that are metrics; every other trait is an attribute."""
    yield from BUILT_IN_TRAITS
    for trait in definitions:
        if trait.window is not None or trait.rule in _METRIC_RULES:
            yield from (trait.name, approximate_trait(trait.name), since_trait(trait.name))


def _profile(profile: Profile, metrics: frozenset[str]) -> ParquetRow:
    traits = {name: value for name, value in profile.traits.items() if _is_shown(name)}
    return {
        "profile_id": profile.profile_id,
        "attributes": _json({k: v for k, v in traits.items() if k not in metrics}),
        "metrics": _json({k: v for k, v in traits.items() if k in metrics}),
    }


def _is_shown(trait: str) -> bool:
    """Return whether a trait is exported; identifiers have a file of their own."""
    return not (is_hidden(trait) or is_address(trait))


def _json(traits: Mapping[str, FactValue]) -> str:
    return msgspec.json.encode(traits).decode()


def _identifiers(profile: Profile) -> Iterator[ParquetRow]:
    for identifier in map(Identifier.parse, profile.identifiers):
        yield {
            "profile_id": profile.profile_id,
            "namespace": identifier.namespace,
            "value": identifier.value,
        }


def _members(person: MemberProfile) -> Iterator[ParquetRow]:
    for segment, entered_at in sorted(person.members.items()):
        key = person.profile.profile_id
        yield {"profile_id": key, "segment": segment, "entered_at": entered_at}
