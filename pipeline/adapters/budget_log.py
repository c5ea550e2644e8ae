"""Newest records of `budgets`, by name."""

import logging
from collections.abc import Mapping

from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import Property
from pipeline.adapters.snapshots import scan
from pipeline.model import topics
from pipeline.model.budget import BudgetRecord

_log = logging.getLogger(__name__)


def newest_budgets(client: Mapping[str, Property], codec: Codec) -> dict[str, BudgetRecord]:
    """Return the newest record of each budget and stock. Raises KafkaException, TimeoutError."""
    budgets: dict[str, BudgetRecord] = {}
    for stored in scan(client, topics.BUDGETS):
        record = None if stored.value is None else codec.decode(topics.BUDGETS, stored.value)
        if isinstance(record, BudgetRecord):
            budgets[stored.key] = record
        elif stored.value is not None:
            _log.error("unreadable budget", extra={"reason": str(record), "at": stored.offset})
    return budgets
