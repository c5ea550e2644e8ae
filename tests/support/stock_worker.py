"""A worker of a stock Faust agent on our transport: decoded values, futures.

Run as `python -m tests.support.stock_worker PLAN`, a `Plan` in JSON of one hop.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec

from agents.app import App, AppOptions, create_app
from agents.run import run
from tests.support.chain_worker import Plan


def stock_app(plan: Plan) -> App:
    """Return an app whose agent sends each number on, doubled."""
    options = AppOptions(
        bootstrap_servers=plan.bootstrap,
        home=Path(plan.home),
        partitions=plan.partitions,
        group_prefix=plan.prefix,
    )
    app = create_app("hop0", options, value_serializer="json")
    source = app.topic(f"{plan.prefix}.0", key_type=str, value_type=int, partitions=4)
    target = app.topic(f"{plan.prefix}.1", key_type=str, value_type=int, partitions=4)

    @app.agent(source)
    async def double(stream: Any) -> None:
        async for key, value in stream.items():
            metadata = await (await target.send(key=key, value=2 * value))
            print(f"sent {metadata.topic} {metadata.offset}", flush=True)

    @app.task
    async def announce_readiness() -> None:
        print("READY", flush=True)

    return app


if __name__ == "__main__":
    sys.exit(run([stock_app(msgspec.json.decode(sys.argv[1], type=Plan))]))
