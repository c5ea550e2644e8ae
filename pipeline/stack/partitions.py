"""Number of partitions of a stack: chosen once, when its topics are created."""

from confluent_kafka.admin import AdminClient

from pipeline.model import topics
from pipeline.settings import Settings

_TIMEOUT_S = 10.0


def with_existing_partitions(settings: Settings) -> Settings:
    """Return settings with the topics' partitions, unless a number was set explicitly."""
    if "partitions" in settings.model_fields_set:
        return settings
    metadata = AdminClient(settings.kafka()).list_topics(timeout=_TIMEOUT_S).topics
    if topics.INTERACTIONS not in metadata:
        return settings
    return settings.model_copy(update={"partitions": len(metadata[topics.INTERACTIONS].partitions)})
