"""The peer: four hops of Quix Streams with state, in a virtual environment of their own.

Records leave at once, acknowledged by all replicas, and input is polled often. All other settings
that concern speed, also how often it commits, are Quix Streams' defaults.
"""

from typing import Any

from arguments import READY_LINE, Arguments, parse
from quixstreams import Application, State


def _app(arguments: Arguments) -> Application:
    return Application(
        broker_address=arguments.bootstrap,
        consumer_group=arguments.group,
        auto_offset_reset="earliest",
        state_dir=str(arguments.folder / arguments.group),
        loglevel="WARNING",
        producer_extra_config={"linger.ms": 0, "acks": "all", "enable.idempotence": True},
        consumer_extra_config={"fetch.wait.max.ms": 100},
        consumer_poll_timeout=0.05,
    )


def _pass_on(value: bytes, state: State) -> bytes:
    state.get_bytes("value")
    state.set_bytes("value", value)
    return value


def _main(arguments: Arguments) -> None:
    app = _app(arguments)
    raw: dict[str, Any] = {
        "key_deserializer": "bytes",
        "value_deserializer": "bytes",
        "key_serializer": "bytes",
        "value_serializer": "bytes",
    }
    for hop in arguments.hops:
        source, target = (app.topic(arguments.topic(n), **raw) for n in (hop, hop + 1))
        app.dataframe(source).apply(_pass_on, stateful=True).to_topic(target)
    print(READY_LINE, flush=True)
    app.run()


if __name__ == "__main__":
    _main(parse())
