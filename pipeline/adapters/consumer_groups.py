"""Consumer groups of a stack: those of the four stages, of the adapters and of the learner."""

from collections.abc import Mapping
from typing import Final

from confluent_kafka.admin import AdminClient

from pipeline.adapters.kafka import Property
from pipeline.adapters.lag import ConsumerGroup
from pipeline.config.compile import Configuration
from pipeline.flow import STAGES
from pipeline.model import topics

LEARNER_GROUP: Final = "kairos.learner"
"""Consumer group of the learner."""


def adapter_group(adapter: str) -> str:
    """Return the consumer group of an adapter."""
    return f"kairos.adapter.{adapter}"


def adapter_inputs(configuration: Configuration | None) -> dict[str, tuple[str, ...]]:
    """Return the adapters that the channels need, with the action topics that each consumes."""
    inputs: dict[str, tuple[str, ...]] = {}
    for channel in configuration.channels.values() if configuration else ():
        if channel.adapter != "none":
            channel_topics = inputs.get(channel.adapter, ())
            inputs[channel.adapter] = (*channel_topics, topics.actions(channel.name))
    return inputs


def stage_groups() -> tuple[ConsumerGroup, ...]:
    """Return the groups of the four stages with their input topics."""
    return tuple(ConsumerGroup(stage.group, stage.inputs) for stage in STAGES)


def all_groups(configuration: Configuration | None) -> tuple[ConsumerGroup, ...]:
    """Return the groups of the stages, of the adapters that the channels need, and of the
    learner, if the configuration needs it."""
    adapters = adapter_inputs(configuration).items()
    has_learner = configuration is not None and configuration.needs_learner
    learner = (ConsumerGroup(LEARNER_GROUP, (topics.DECISIONS,)),) if has_learner else ()
    return (
        *stage_groups(),
        *(ConsumerGroup(adapter_group(name), inputs) for name, inputs in adapters),
        *learner,
    )


def are_stages_running(kafka: Mapping[str, Property]) -> bool:
    """Return whether each stage has a worker. Raises KafkaException."""
    groups = [group.name for group in stage_groups()]
    admin = AdminClient(dict(kafka))  # kept until its futures are resolved
    futures = admin.describe_consumer_groups(groups)
    return all(future.result().members for future in futures.values())
