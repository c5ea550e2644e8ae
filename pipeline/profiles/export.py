"""All profiles as three Parquet files, for DuckDB and its like.

`profiles.parquet`: profile_id, attributes, metrics (both JSON text: `attributes->>'plan'` in
DuckDB; their names and types differ from profile to profile). Metrics are counts, sums, averages,
distinct counts, whatever has a window, and what every profile has; attributes the other traits.
`identifiers.parquet`: profile_id, namespace, value.
`memberships.parquet`: profile_id, segment, entered_at (UTC).
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.conditions.tree import is_hidden
from pipeline.config.model import Trait
from pipeline.config.names import BUILT_IN_TRAITS, approximate, is_address, since_trait
from pipeline.model.interaction import Identifier, Known
from pipeline.model.profile import Profile
from pipeline.profiles.everybody import Everybody

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


class Exported(msgspec.Struct, frozen=True):
    """Rows written to each file."""

    profiles: int
    identifiers: int
    memberships: int


def export_all(people: Everybody, declared: Iterable[Trait], out: Path) -> Exported:
    """Write the three files into `out` (made when missing); existing ones are replaced."""
    out.mkdir(parents=True, exist_ok=True)
    metrics = frozenset(metric_names(declared))
    profiles = [people.profiles[key] for key in sorted(people.profiles)]
    return Exported(
        _write(out / "profiles.parquet", _PROFILES, (_profile(one, metrics) for one in profiles)),
        _write(out / "identifiers.parquet", _IDENTIFIERS, _identifiers(profiles)),
        _write(out / "memberships.parquet", _MEMBERSHIPS, _members(people)),
    )


def metric_names(declared: Iterable[Trait]) -> Iterator[str]:
    """The traits that are metrics; every other one is an attribute."""
    yield from BUILT_IN_TRAITS
    for trait in declared:
        if trait.window is not None or trait.rule in _METRIC_RULES:
            yield from (trait.name, approximate(trait.name), since_trait(trait.name))


def _profile(profile: Profile, metrics: frozenset[str]) -> dict[str, Any]:
    shown = {name: value for name, value in profile.traits.items() if _is_shown(name)}
    return {
        "profile_id": profile.profile_id,
        "attributes": _json({k: v for k, v in shown.items() if k not in metrics}),
        "metrics": _json({k: v for k, v in shown.items() if k in metrics}),
    }


def _is_shown(trait: str) -> bool:
    """Identifiers have a file of their own."""
    return not (is_hidden(trait) or is_address(trait))


def _json(traits: Mapping[str, Known]) -> str:
    return msgspec.json.encode(traits).decode()


def _identifiers(profiles: Iterable[Profile]) -> Iterator[dict[str, Any]]:
    for profile in profiles:
        for one in map(Identifier.parse, profile.identifiers):
            yield {
                "profile_id": profile.profile_id,
                "namespace": one.namespace,
                "value": one.value,
            }


def _members(people: Everybody) -> Iterator[dict[str, Any]]:
    for key in sorted(people.memberships):
        for segment, entered_at in sorted(people.memberships[key].segments.items()):
            yield {"profile_id": key, "segment": segment, "entered_at": entered_at}


def _write(file: Path, schema: pa.Schema, rows: Iterator[dict[str, Any]]) -> int:
    """A chunk at a time; how many rows there were."""
    written = 0
    with pq.ParquetWriter(file, schema) as writer:
        while chunk := list(islice(rows, _CHUNK)):
            writer.write_table(pa.Table.from_pylist(chunk, schema))
            written += len(chunk)
    return written
