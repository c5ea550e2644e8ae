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
    """App whose agent waits at each event while it may not `go`. `narrow`: the transport's
    options."""

    def __init__(
        self,
        bootstrap: str,
        prefix: str,
        home: Path,
        source: str,
        *,
        partitions: int = 1,
        **narrow: int,
    ) -> None:
        options = AppOptions(bootstrap, home, partitions=partitions, group_prefix=prefix)
        self.app: App = create_app("reading", options, stream_buffer_maxsize=BUFFER)
        self.app.transport_options = replace(self.app.transport_options, **narrow)
        self.consumer: Any = self.app.consumer
        self.seen: list[tuple[int, int]] = []
        self.go = asyncio.Event()

        @self.app.agent(self.app.raw_topic(source))
        async def note(stream: Any) -> None:
            async for event in stream.events():
                self.seen.append((event.message.partition, event.message.offset))
                await self.go.wait()

    @property
    def offsets(self) -> list[int]:
        """Offsets of the events that the agent got, of all partitions."""
        return [offset for _, offset in self.seen]

    def offsets_of(self, partition: int) -> list[int]:
        """Return the offsets of the events of one partition that the agent got."""
        return [offset for partition_seen, offset in self.seen if partition_seen == partition]

    async def wait_until(self, holds: Callable[["Reading"], bool]) -> None:
        """Wait until `holds`; a condition that never does fails the test."""
        async with asyncio.timeout(_PATIENCE_S):
            while not holds(self):
                await asyncio.sleep(_LOOK_S)
