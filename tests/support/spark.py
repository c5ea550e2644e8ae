"""Reason why Spark cannot run on this machine."""

import importlib.util

from pipeline.adapters.broker.java import find_java
from pipeline.adapters.broker.options import BrokerError


def spark_problem() -> str:
    """Return the reason why Spark cannot run here; empty if it can."""
    for module in ("pyspark", "sqlglot"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed (kairos-rtim[spark])"
    try:
        find_java()
    except BrokerError as error:
        return str(error)
    return ""
