"""Applied configuration: immutable, named by its digest."""

from msgspec import Struct


class ConfigurationRecord(Struct, frozen=True):
    """Value of `configuration`; `body`: the canonical JSON whose SHA-256 is `digest`."""

    digest: str
    applied_at: int
    applied_by: str
    body: str
