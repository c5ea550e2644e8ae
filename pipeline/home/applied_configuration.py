"""Configuration in force, read from the topic."""

from pipeline.config.compile import Configuration
from pipeline.home.codec import open_codec
from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.configuration import ConfigurationRecord
from pipeline.settings import Settings


def applied_configuration(settings: Settings) -> Configuration | None:
    """Return the configuration in force; None if there never was one.

    Raises KafkaException and RegistryError.
    """
    records = Records(settings, open_codec(settings))
    body = None
    for _, record in records.read_all(topics.CONFIGURATION, ConfigurationRecord):
        body = record.body
    return None if body is None else Configuration.from_json(body)
