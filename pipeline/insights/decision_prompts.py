"""Prompts derived from the topic `decisions`: each decision in which a step's offers competed.

The journey's prompts name the offers of each step. A decision that sent one of these offers is a
prompt with that message; a decision that sent none is a prompt without a message. Decisions of a
holdout, and those in which another step's offer won the slot, are no choice about the step and are
left out. A probability below 1 is that of a draw; a choice without a draw has no probability.
"""

from pathlib import Path
from typing import Final

import pyarrow as pa

from pipeline.config.model.journeys import Journey
from pipeline.insights.engines import Queries
from pipeline.insights.tables import TableError
from pipeline.insights.topic_files import DECISIONS

_NEEDED_COLUMNS: Final = (
    *("decision_id", "profile_id", "decided_at", "choices", "candidates"),
    *("kafka_partition", "kafka_offset", "kafka_error"),
)


def load_decision_prompts(queries: Queries, folder: Path, journey: Journey, file: Path) -> None:
    """Make the view `checked` of FOLDER/decisions, with the columns of a table of prompts. Raises
    TableError where the journey in `file` names no offers."""
    pairs = {
        offer: step.step
        for stage in journey.steps
        for step in stage.steps()
        for prompt in step.prompts
        for offer in prompt.offers
    }
    if not pairs:
        raise TableError(f"{file}: no step has prompts: name the offers of a step by its `prompts`")
    queries.load(
        "step_offers", pa.table({"offer": list(pairs), "step": [pairs[pair] for pair in pairs]})
    )
    topic = queries.open_topic(folder, DECISIONS, _NEEDED_COLUMNS)
    queries.define(
        "step_decisions",
        f"""
        SELECT decision_id, profile_id, epoch_us(decided_at) AS moment, choices, candidates FROM (
            SELECT decision_id, profile_id, decided_at, choices, candidates, row_number() OVER (
                PARTITION BY decision_id ORDER BY kafka_partition, kafka_offset) AS nth
            FROM {topic} WHERE decision_id IS NOT NULL AND kafka_error IS NULL
        ) AS numbered WHERE nth = 1
        """,
    )
    queries.define("slot_steps", _SLOT_STEPS)
    queries.define("slot_choices", _SLOT_CHOICES)
    queries.define("checked", _PROMPTS)


_SLOT_STEPS: Final = """
SELECT c.decision_id AS decision_id, c.slot AS slot, min(s.step) AS step
FROM (
    SELECT decision_id, entry.slot AS slot, entry.offer AS offer
    FROM (SELECT decision_id, unnest(candidates) AS entry FROM step_decisions) AS opened
) AS c JOIN step_offers AS s ON c.offer = s.offer
GROUP BY c.decision_id, c.slot HAVING count(DISTINCT s.step) = 1
"""

_SLOT_CHOICES: Final = """
SELECT c.decision_id AS decision_id, c.profile_id AS profile_id, c.moment AS moment,
    t.step AS step, c.channel AS channel, c.treatment AS treatment, c.offer AS offer,
    CASE WHEN c.propensity < 1 THEN c.propensity END AS propensity, c.slot AS slot,
    count(*) OVER (PARTITION BY c.decision_id, t.step) AS slots
FROM (
    SELECT decision_id, profile_id, moment, entry.slot AS slot, entry.channel AS channel,
        entry.treatment AS treatment, entry.offer AS offer, entry.propensity AS propensity,
        entry.holdout AS holdout
    FROM (
        SELECT decision_id, profile_id, moment, unnest(choices) AS entry FROM step_decisions
    ) AS opened
) AS c JOIN slot_steps AS t ON c.decision_id = t.decision_id AND c.slot = t.slot
LEFT JOIN step_offers AS s ON c.offer = s.offer
WHERE c.holdout IS NULL AND (c.treatment IS NULL OR s.step = t.step)
"""
"""Choices in the slots of a step. A log has no probability of sending no message in several slots
together."""

_PROMPTS: Final = """
SELECT profile_id AS case_id, moment AS occurred_at, step,
    CASE WHEN treatment IS NULL THEN 'nothing' ELSE channel END AS channel, treatment AS message,
    offer, CASE WHEN treatment IS NOT NULL OR slots = 1 THEN propensity END AS propensity,
    row_number() OVER (ORDER BY moment, decision_id) AS row
FROM (
    SELECT decision_id, profile_id, moment, step, channel, treatment, offer, propensity, slots,
        row_number() OVER (
            PARTITION BY decision_id, step
            ORDER BY CASE WHEN treatment IS NULL THEN 1 ELSE 0 END, slot) AS nth
    FROM slot_choices
) AS ranked WHERE nth = 1
"""
