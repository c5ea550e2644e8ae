"""A record that a stage could not process, with everything needed to mend it and send it again."""

from msgspec import Struct, field


class DeadLetterRecord(Struct, frozen=True):
    """The value of `dead-letters`. `reason` is a short code, `detail` says it in words."""

    stage: str
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    at: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes] = field(default_factory=dict)
