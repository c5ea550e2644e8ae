"""A table that could not be rebuilt after a restart is refused."""

import asyncio
from pathlib import Path

import pytest
from faust.types import TP

from agents.app import AppOptions, create_app


def test_table_in_memory_ends_the_worker_before_it_reads_anything(tmp_path: Path) -> None:
    async def assign() -> None:
        options = AppOptions(bootstrap_servers="localhost:1", home=tmp_path, partitions=1)
        app = create_app("forgetful", options, store="memory://")
        app.Table("totals", partitions=1)
        recovery, generation = app.tables.recovery, app.consumer_generation_id  # type: ignore[attr-defined]
        await recovery.on_rebalance({TP("in", 0)}, set(), set(), generation)

    with pytest.raises(TypeError, match="table totals has a store that cannot be restored"):
        asyncio.run(assign())
