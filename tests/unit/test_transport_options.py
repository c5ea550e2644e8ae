"""Properties of users reach every client of a worker, and change none that the worker relies on."""

from collections.abc import Mapping

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from agents.transport.options import TransportOptions
from pipeline.adapters.kafka import RESERVED_SETTINGS

_FIXED_NAMES = ("bootstrap.servers", "session.timeout.ms", "heartbeat.interval.ms")
_TUNING_PROPERTIES = {"linger.ms": "7", "fetch.wait.max.ms": "8", "socket.nagle.disable": "false"}
_READER_PROPERTIES = frozenset({
    "bootstrap.servers", "group.id", "enable.auto.commit", "enable.auto.offset.store",
    "auto.offset.reset", "isolation.level", "enable.partition.eof", "allow.auto.create.topics",
})  # fmt: skip
_MEMBER_PROPERTIES = frozenset({
    "group.instance.id", "group.protocol", "partition.assignment.strategy", "session.timeout.ms",
    "heartbeat.interval.ms",
})  # fmt: skip
_WRITER_PROPERTIES = frozenset({
    "bootstrap.servers", "acks", "enable.idempotence", "partitioner", "delivery.report.only.error",
    "allow.auto.create.topics",
})  # fmt: skip


def _settings_by_client(properties: Mapping[str, str]) -> dict[str, dict[str, object]]:
    options = TransportOptions("localhost:1", "group", "instance", librdkafka=properties)
    return {
        "consumer": options.consumer_settings(),
        "changelog reader": options.changelog_reader_settings(),
        "producer": options.producer_settings(0),
        "admin": options.admin_settings(),
    }


@pytest.mark.parametrize(
    ("client", "names"),
    [
        ("consumer", _READER_PROPERTIES | _MEMBER_PROPERTIES),
        ("changelog reader", _READER_PROPERTIES),
        ("producer", _WRITER_PROPERTIES),
        ("admin", {"bootstrap.servers"}),
    ],
)
def test_given_properties_change_none_that_a_client_relies_on(
    client: str, names: frozenset[str]
) -> None:
    plain_properties = _settings_by_client({})[client]
    properties = _settings_by_client(dict.fromkeys((*RESERVED_SETTINGS, *_FIXED_NAMES), "other"))[
        client
    ]
    assert {name: properties[name] for name in names} == {
        name: plain_properties[name] for name in names
    }


def test_tuning_properties_reach_the_clients() -> None:
    for client, settings in _settings_by_client(_TUNING_PROPERTIES).items():
        assert {name: settings[name] for name in _TUNING_PROPERTIES} == _TUNING_PROPERTIES, client


def test_librdkafka_accepts_the_properties_of_all_clients() -> None:
    clients = _settings_by_client({"log_level": "0"})
    Consumer(clients["consumer"]).close()
    Consumer(clients["changelog reader"]).close()
    Producer(clients["producer"])
    AdminClient(clients["admin"])
