"""The four hops as Faust agents on Kairos' transport and tables, with steps that do nothing."""

import sys
from typing import Any

from arguments import READY_LINE, Arguments, parse

from agents.app import App, AppOptions, create_app
from agents.run import exempt_from_collection, run
from agents.transport.runs import iterate_in_runs


def _app(hop: int, arguments: Arguments, pending_hops: set[int]) -> App:
    app = create_app(
        f"hop{hop}",
        AppOptions(
            bootstrap_servers=arguments.bootstrap,
            home=arguments.folder,
            partitions=arguments.partitions,
            group_prefix=arguments.prefix,
        ),
    )
    table = app.add_raw_table("rows")
    target = arguments.topic(hop + 1)

    @app.agent(app.raw_topic(arguments.topic(hop)), name=f"hop{hop}")
    async def pass_on(stream: Any) -> None:
        producer: Any = app.producer
        send = producer.send_raw
        async for event in iterate_in_runs(stream):
            message = event.message
            table.get_in(message.partition, message.key)
            table.put_in(message.partition, message.key, message.value)
            send(target, message.key, message.value)

    @app.task
    async def announce() -> None:
        await app.tables.wait_until_recovery_completed()
        pending_hops.discard(hop)
        if not pending_hops:
            exempt_from_collection()  # as workers do
            print(READY_LINE, flush=True)

    return app


if __name__ == "__main__":
    arguments = parse()
    pending_hops = set(arguments.hops)
    sys.exit(run([_app(hop, arguments, pending_hops) for hop in arguments.hops]))
