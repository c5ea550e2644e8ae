"""A broker for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.adapters.broker import Broker, BrokerOptions, RunningBroker
from pipeline.settings import Settings


@contextmanager
def running_broker(home: Path) -> Iterator[str]:
    """Provide the address of a home's broker, which runs during the block."""
    broker = Broker(BrokerOptions(home, Settings().cache_dir, port=0))
    try:
        process = broker.start()
        assert isinstance(process, RunningBroker), process
        yield process.bootstrap
    finally:
        broker.stop()
