"""One applied configuration: immutable, named by its digest."""

from msgspec import Struct


class ConfigurationRecord(Struct, frozen=True):
    """The value of `configuration`. `body` is the canonical JSON whose SHA-256 is `digest`."""

    digest: str
    applied_at: int
    applied_by: str
    body: str
