"""Faust schema of raw bytes, which decodes nothing and so cannot fail."""

from typing import Any

import faust
from faust.types import AppT, EventT
from faust.types.tuples import ConsumerMessage


class RawSchema(faust.Schema[bytes, bytes]):
    """Schema of topics whose keys and values the agents decode themselves."""

    def __init__(self) -> None:
        super().__init__(key_type=bytes, value_type=bytes)

    def compile(self, app: AppT, **callbacks: Any) -> Any:
        """Return the function that turns a message into an event."""

        async def decode(message: ConsumerMessage, *, propagate: bool = False) -> EventT[Any]:
            return faust.Event(app, message.key, message.value, message.headers, message)

        return decode
