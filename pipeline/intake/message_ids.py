"""Ids for messages without one."""

from dataclasses import dataclass, field
from uuid import UUID, uuid4, uuid5


@dataclass(slots=True)
class MessageIds:
    """Sequence of ids, the same for the same seed."""

    seed: UUID = field(default_factory=uuid4)
    count: int = 0

    def __call__(self) -> str:
        self.count += 1
        return str(uuid5(self.seed, str(self.count)))
