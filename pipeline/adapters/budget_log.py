"""Reader of the newest records of `budgets`."""

import logging
from collections.abc import Mapping

from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import Property
from pipeline.adapters.snapshots import scan
from pipeline.model import topics
from pipeline.model.budget import BudgetRecord

_log = logging.getLogger(__name__)


def read_budgets(client: Mapping[str, Property], codec: Codec) -> dict[str, BudgetRecord]:
    """Return the newest record of each budget and stock, by name.

    Raises KafkaException, TimeoutError.
    """
    budgets: dict[str, BudgetRecord] = {}
    for row in scan(client, topics.BUDGETS):
        record = None if row.value is None else codec.decode(topics.BUDGETS, row.value)
        if isinstance(record, BudgetRecord):
            budgets[row.key] = record
        elif row.value is not None:
            _log.error("unreadable budget", extra={"reason": str(record), "at": row.offset})
    return budgets
