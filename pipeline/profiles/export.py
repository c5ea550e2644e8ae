"""All profiles as three Parquet files, for DuckDB and its like.

`profiles.parquet`: profile_id, attributes, metrics (both JSON text: `attributes->>'plan'` in
DuckDB; their names and types differ from profile to profile). Attributes are the declared traits
that hold one value (latest, first, min, max); metrics are sums, counts and what every profile has.
`identifiers.parquet`: profile_id, namespace, value.
`memberships.parquet`: profile_id, segment, entered_at (UTC).
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.adapters.records import Records
from pipeline.conditions.tree import is_hidden
from pipeline.config.names import BUILT_IN_TRAITS
from pipeline.model import topics
from pipeline.model.interaction import Identifier, Known
from pipeline.model.profile import Memberships, Profile

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
_METRIC_RULES = ("sum", "count")


class Exported(msgspec.Struct, frozen=True):
    """Rows written to each file."""

    profiles: int
    identifiers: int
    memberships: int


def export_all(records: Records, trait_rules: Mapping[str, str], out: Path) -> Exported:
    """Write the three files into `out` (made when missing); existing ones are replaced."""
    out.mkdir(parents=True, exist_ok=True)
    profiles = records.latest(topics.PROFILES, Profile)
    memberships = records.latest(topics.MEMBERSHIPS, Memberships)
    people = [_profile(profiles[key], trait_rules) for key in sorted(profiles)]
    identifiers = [
        {"profile_id": key, "namespace": one.namespace, "value": one.value}
        for key in sorted(profiles)
        for one in map(Identifier.parse, profiles[key].identifiers)
    ]
    members = [
        {"profile_id": key, "segment": segment, "entered_at": entered_at}
        for key in sorted(memberships)
        for segment, entered_at in sorted(memberships[key].segments.items())
    ]
    pq.write_table(pa.Table.from_pylist(people, _PROFILES), out / "profiles.parquet")
    pq.write_table(pa.Table.from_pylist(identifiers, _IDENTIFIERS), out / "identifiers.parquet")
    pq.write_table(pa.Table.from_pylist(members, _MEMBERSHIPS), out / "memberships.parquet")
    return Exported(len(people), len(identifiers), len(members))


def attributes(traits: Mapping[str, Known], rules: Mapping[str, str]) -> dict[str, Known]:
    """The declared traits that hold one value."""
    return {
        k: v
        for k, v in traits.items()
        if k in rules and rules[k] not in _METRIC_RULES and not is_hidden(k)
    }


def metrics(traits: Mapping[str, Known], rules: Mapping[str, str]) -> dict[str, Known]:
    """Sums, counts, and the built-in traits."""
    return {
        k: v for k, v in traits.items() if rules.get(k) in _METRIC_RULES or k in BUILT_IN_TRAITS
    }


def _profile(profile: Profile, rules: Mapping[str, str]) -> dict[str, str]:
    return {
        "profile_id": profile.profile_id,
        "attributes": msgspec.json.encode(attributes(profile.traits, rules)).decode(),
        "metrics": msgspec.json.encode(metrics(profile.traits, rules)).decode(),
    }
