"""A small geo database in MaxMind's format."""

from pathlib import Path

from mmdb_writer import MMDBWriter
from netaddr import IPSet


def write_geo(file: Path) -> Path:
    """Write a database with one network in Madrid, one in Germany, and one without a country."""
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test-City")
    madrid = {
        "country": {"iso_code": "ES", "names": {"en": "Spain"}},
        "subdivisions": [{"iso_code": "MD", "names": {"en": "Madrid"}}],
        "city": {"names": {"en": "Alcalá"}},
    }
    writer.insert_network(IPSet(["192.0.2.0/25", "2001:db8::/64"]), madrid)
    writer.insert_network(IPSet(["192.0.2.128/25"]), {"country": {"iso_code": "DE"}})
    writer.insert_network(IPSet(["198.51.100.0/24"]), {"continent": {"code": "EU"}})
    writer.to_db_file(str(file))
    return file
