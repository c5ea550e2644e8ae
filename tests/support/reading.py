"""An app whose agent records its events, for tests of the transport's reading."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.app import App, AppOptions, create_app

BUFFER = 4
"""Events that may wait for the agent."""

_PATIENCE_S = 120
_LOOK_S = 0.02


class Reading:
    """App whose agent waits at each event until `go` is set. `transport_options`
    replace the defaults."""

    def __init__(
        self,
        bootstrap: str,
        prefix: str,
        home: Path,
        source: str,
        *,
        partitions: int = 1,
        **transport_options: int,
    ) -> None:
        options = AppOptions(bootstrap, home, partitions=partitions, group_prefix=prefix)
        self.app: App = create_app("reading", options, stream_buffer_maxsize=BUFFER)
        self.app.transport_options = replace(self.app.transport_options, **transport_options)
        self.consumer: Any = self.app.consumer
        self.positions: list[tuple[int, int]] = []
        self.go = asyncio.Event()

        @self.app.agent(self.app.raw_topic(source))
        async def note(stream: Any) -> None:
            async for event in stream.events():
                self.positions.append((event.message.partition, event.message.offset))
                await self.go.wait()

    @property
    def offsets(self) -> list[int]:
        """Offsets of the events that the agent has received, of all partitions."""
        return [offset for _, offset in self.positions]

    def offsets_of(self, partition: int) -> list[int]:
        """Return the offsets of the events of one partition that the agent has received."""
        return [
            offset for event_partition, offset in self.positions if event_partition == partition
        ]

    async def wait_until(self, condition: Callable[["Reading"], bool]) -> None:
        """Wait until `condition` returns true; fail the test if it never does."""
        async with asyncio.timeout(_PATIENCE_S):
            while not condition(self):
                await asyncio.sleep(_LOOK_S)
