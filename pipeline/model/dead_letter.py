"""Dead letter: a record that a stage could not process, complete enough to be sent again."""

from msgspec import Struct, field


class DeadLetterRecord(Struct, frozen=True):
    """Value of `dead-letters`; `reason`: a short code, `detail`: its description."""

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
