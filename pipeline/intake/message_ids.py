"""Ids of messages that came without one."""

from dataclasses import dataclass, field
from uuid import UUID, uuid4, uuid5


@dataclass(slots=True)
class MessageIds:
    """Ids in the order in which they are asked for."""

    seed: UUID = field(default_factory=uuid4)
    given: int = 0

    def __call__(self) -> str:
        self.given += 1
        return str(uuid5(self.seed, str(self.given)))
