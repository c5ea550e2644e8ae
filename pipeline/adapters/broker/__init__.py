"""The embedded broker: `Broker(options).start()`, `.stop()`, `.status()`."""

from pipeline.adapters.broker.broker import Broker
from pipeline.adapters.broker.options import BrokerFailure, BrokerOptions, Running

__all__ = ["Broker", "BrokerFailure", "BrokerOptions", "Running"]
