"""Events of customers from the topic `interactions.segmented`, with the columns of a table of
events."""

from pathlib import Path

from pipeline.insights.engines import Queries, QueryError
from pipeline.insights.events import EventLog
from pipeline.insights.tables import TableError
from pipeline.insights.topic_files import SEGMENTED

_KINDS = "'track', 'page', 'screen'"


def load_topic_events(
    queries: Queries,
    folder: Path,
    channel_property: str | None,
    until_ms: int | None,
) -> EventLog:
    """Make `events` of FOLDER/interactions.segmented: tracks, pages and screens, each once.

    `channel_property`: the property that contains the channel of an interaction (None: its own
    channel); `until_ms`: end of the log (exclusive; None: its latest event). Raises TableError.
    """
    view = queries.open_topic(folder, SEGMENTED, ("interaction", "identity"))
    channel = "interaction.channel"
    if channel_property is not None:
        key = '$."' + channel_property.replace("\\", "\\\\").replace('"', '\\"') + '"'
        value = "'" + key.replace("'", "''") + "'"
        channel = f"coalesce(interaction.properties ->> {value}, interaction.channel)"
    time_condition = "TRUE" if until_ms is None else f"moment < {until_ms * 1000}"
    try:
        queries.define(
            "events",
            f"""
            SELECT case_id, moment, name, channel, CAST(NULL AS VARCHAR) AS arm,
                row_number() OVER (ORDER BY moment, kafka_partition, kafka_offset) AS line
            FROM (
                SELECT identity.profile_id AS case_id, epoch_us(interaction.occurred_at) AS moment,
                    interaction.name AS name, {channel} AS channel, kafka_partition, kafka_offset,
                    row_number() OVER (
                        PARTITION BY identity.profile_id, interaction.source, interaction.event_id,
                            interaction.kind, interaction.name
                        ORDER BY kafka_partition, kafka_offset
                    ) AS nth
                FROM {view}
                WHERE interaction.kind IN ({_KINDS}) AND kafka_error IS NULL
            ) WHERE nth = 1 AND {time_condition}
            """,
        )
        [(rows, latest_moment)] = queries.rows(
            "SELECT count(*), coalesce(max(moment), 0) FROM events"
        )
    except QueryError as error:
        raise TableError(f"{folder}: cannot be read: {error}") from error
    return EventLog(
        queries, folder, rows, 0, latest_moment if until_ms is None else until_ms * 1000
    )
