"""A worker process for the transport's tests: agents chained over topics, each with a table.

Every record is counted once per hop and key, also when it is delivered twice: a row has the count
and the ids of the records. Run as `python -m tests.support.chain_worker PLAN`, a `Plan` in JSON.
"""

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from faust.types import TP

from agents.app import App, AppOptions, create_app
from agents.run import run
from agents.transport.records import Headers
from agents.transport.runs import iterate_in_runs
from tests.support.doom import doom

FAULTY_VALUE = b"raise"
"""Value of a record at which an agent raises an exception."""
ASSIGNMENT, REVOCATION = "ASSIGNED", "REVOKED"
"""Prefixes of the lines that report a hop's partitions at a rebalance."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Chain that the worker runs; `doom`: the point of `doom.POINTS` at which it is killed."""

    bootstrap: str
    home: str
    prefix: str
    partitions: int
    hops: int
    instance: str = "0"
    session_timeout_ms: int = 6_000
    librdkafka: dict[str, str] = {}
    doom: str | None = None


class ChainRow(msgspec.Struct, array_like=True):
    """Number of records of a key, and their ids."""

    count: int = 0
    ids: list[bytes] = []


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(ChainRow)


def decode_row(value: bytes) -> ChainRow:
    """Read a row of the chain's tables."""
    return _DECODER.decode(value)


def chain(plan: Plan) -> list[App]:
    """Return the apps of the plan's hops, from `<prefix>.0` to `<prefix>.<hops>`."""
    options = AppOptions(
        bootstrap_servers=plan.bootstrap,
        home=Path(plan.home),
        partitions=plan.partitions,
        instance=plan.instance,
        group_prefix=plan.prefix,
        session_timeout_ms=plan.session_timeout_ms,
        librdkafka=plan.librdkafka,
    )
    return [_hop(plan, options, number) for number in range(plan.hops)]


def _hop(plan: Plan, options: AppOptions, number: int) -> App:
    target = f"{plan.prefix}.{number + 1}"
    app = create_app(f"hop{number}", replace(options, cause_header="cause", outputs=(target,)))
    table = app.add_raw_table("counts")

    @app.agent(app.raw_topic(f"{plan.prefix}.{number}"))
    async def count(stream: Any) -> None:
        async for event in iterate_in_runs(stream):
            message = event.message
            if message.value == FAULTY_VALUE:
                raise ValueError("asked to raise")
            stored_row = table.get_in(message.partition, message.key)
            row = ChainRow() if stored_row is None else _DECODER.decode(stored_row)
            if message.value not in row.ids:
                row = ChainRow(row.count + 1, [*row.ids, message.value])
                table.put_in(message.partition, message.key, _ENCODER.encode(row))
            other_headers = [header for header in message.headers or () if header[0] != "cause"]
            cause = f"{message.topic}/{message.partition} {message.offset}".encode()
            headers: Headers = [*other_headers, ("hop", b"%d" % number), ("cause", cause)]
            app.producer.send_raw(  # type: ignore[attr-defined]
                target, message.key, message.value, headers=headers
            )

    @app.task
    async def announce_readiness() -> None:
        print("READY", flush=True)

    @app.on_partitions_assigned.connect
    async def on_assigned(_: App, tps: set[TP], **__: object) -> None:
        print(f"{ASSIGNMENT} hop{number}", *sorted(tp.partition for tp in tps), flush=True)

    @app.on_partitions_revoked.connect
    async def on_revoked(_: App, tps: set[TP], **__: object) -> None:
        print(f"{REVOCATION} hop{number}", *sorted(tp.partition for tp in tps), flush=True)

    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    argument = msgspec.json.decode(sys.argv[1], type=Plan)
    if argument.doom is not None:
        doom(argument.doom)
    sys.exit(run(chain(argument)))
