"""Geo databases without a readable place are refused, and a damaged one raises no error."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from pipeline.adapters.geo import geo_problem, open_places
from pipeline.adapters.trial import isolated_geo_problem
from pipeline.enrichment.enrichers import Place
from tests.support.cases import cases
from tests.support.geo_files import write_geo

UNUSABLE_RECORDS: list[Any] = [
    {"country": "ES"},
    {"country": ["ES"]},
    {"country": {"iso_code": 34}},
    {"country": {"iso_code": ["ES"]}},
    {"country": {"iso_code": ""}},
    {"country": {"iso_code": "E" * 500}},
    {"city": "Madrid"},
    {"city": {"names": "Madrid"}},
    {"city": {"names": {"en": {"text": "Madrid"}}}},
    {"city": {"names": {"en": 7}}},
    {"subdivisions": {"names": {"en": "Madrid"}}},
    {"subdivisions": ["Madrid"]},
    {"subdivisions": "Madrid"},
    {"country": {"iso_code": "ES"}, "subdivisions": [{"names": ["Madrid"]}]},
    "ES",
    ["ES"],
    34,
    {"autonomous_system_number": 64_500},
    {"country_code": "ES"},
]


def write_records(file: Path, record: object) -> Path:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test")
    writer.insert_network(IPSet(["192.0.2.0/24", "2001:db8::/32"]), record)
    writer.to_db_file(str(file))
    return file


@pytest.mark.parametrize("record", UNUSABLE_RECORDS, ids=str)
def test_database_of_unusable_records_is_refused_and_gives_no_place(
    tmp_path: Path, record: object
) -> None:
    file = write_records(tmp_path / "geo.mmdb", record)
    assert geo_problem(file)
    find_place = open_places(file)
    assert not isinstance(find_place, str)
    for address in ("192.0.2.7", "2001:db8::1", "::1", "no address", ""):
        assert find_place(address) in (None, Place())


def test_usual_database_passes(tmp_path: Path) -> None:
    assert isolated_geo_problem(write_geo(tmp_path / "geo.mmdb")) is None


@settings(max_examples=cases(60), deadline=None)
@given(data=st.data())
def test_damaged_database_raises_no_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Fuzzing: bytes are changed, or the end is cut off.
    folder = tmp_path_factory.mktemp("geo")
    content = bytearray(write_geo(folder / "geo.mmdb").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]
    file = folder / "damaged.mmdb"
    file.write_bytes(content)
    problem = geo_problem(file)
    assert problem is None or len(problem) < 500
    find_place = open_places(file)
    if not isinstance(find_place, str):
        for address in ("192.0.2.7", "192.0.2.200", "2001:db8::7", "198.51.100.1"):
            place = find_place(address)
            assert place is None or isinstance(place, Place)
