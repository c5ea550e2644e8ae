"""Embedded broker: `Broker(options).start()`, `.stop()`, `.status()`; `warm_up(properties)`."""

from pipeline.adapters.broker.broker import Broker
from pipeline.adapters.broker.options import BrokerFailure, BrokerOptions, RunningBroker
from pipeline.adapters.broker.warmup import warm_up

__all__ = ["Broker", "BrokerFailure", "BrokerOptions", "RunningBroker", "warm_up"]
