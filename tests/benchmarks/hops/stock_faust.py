"""The peer: four chained agents of stock Faust, over aiokafka, with its RocksDB tables.

It runs on uvloop, as Kairos does, without a web server, and with a rebalance that waits for
nothing; records leave at once, acknowledged by all replicas. All other settings that concern speed
are Faust's defaults.

Two advantages of Kairos are not available to a peer by any setting: its threads for Kafka run under
SCHED_BATCH, after the event loop, and in a worker (`demo`, `large`; not `trivial`) the garbage
collector skips the objects that existed at its start.
"""

import asyncio
import sys
from typing import Any

import faust
import mode.loop
from arguments import READY_LINE, Arguments, parse


def _app(arguments: Arguments) -> faust.App:
    return faust.App(
        arguments.group,
        broker=f"aiokafka://{arguments.bootstrap}",
        store="rocksdb://?driver=rocksdict",
        key_serializer="raw",
        value_serializer="raw",
        topic_partitions=arguments.partitions,
        topic_disable_leader=True,
        topic_allow_declare=True,
        datadir=str(arguments.folder / arguments.group),
        producer_linger=0,
        producer_acks=-1,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
        worker_redirect_stdouts=False,
    )


def _add_hop(app: faust.App, hop: int, arguments: Arguments) -> None:
    source, target = (
        app.topic(
            arguments.topic(number),
            key_type=bytes,
            value_type=bytes,
            partitions=arguments.partitions,
        )
        for number in (hop, hop + 1)
    )
    table = app.Table(
        f"hop{hop}", key_type=bytes, value_type=bytes, partitions=arguments.partitions
    )

    @app.agent(source, name=f"hop{hop}")
    async def pass_on(stream: Any) -> None:
        async for event in stream.events():
            table.get(event.key)
            table[event.key] = event.value
            await target.send(key=event.key, value=event.value)


def _main(arguments: Arguments) -> None:
    mode.loop.use("uvloop")  # as `faust --loop uvloop` does at its start
    app = _app(arguments)
    for hop in arguments.hops:
        _add_hop(app, hop, arguments)

    @app.task
    async def announce() -> None:
        while not app.tables.actives_ready:
            await asyncio.sleep(0.1)
        print(READY_LINE, flush=True)

    sys.argv[1:] = ["worker", "--without-web", "-l", "warn"]
    app.main()


if __name__ == "__main__":
    _main(parse())
