"""Prometheus metrics of the gateway."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pipeline.intake.refusal import Refusal
from pipeline.model.interaction import Interaction

_SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """Metrics of one gateway, in their own registry."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Answered requests", "route", "status")
        self._seconds = Histogram(
            "kairos_gateway_request_seconds",
            "Time from the request to its answer",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._accepted_interactions = self._counter(
            "accepted", "Interactions that Kafka acknowledged", "kind"
        )
        self._rejected_messages = self._counter(
            "rejected", "Messages refused, by the error's code", "code"
        )
        self._unavailable_writes = self._counter(
            "unavailable", "Writes that Kafka did not acknowledge in time"
        )
        self._decisions = self._counter(
            "decisions",
            "`/v1/decide`: answered; defaulted (out of time); unasked (the default at once, as "
            "no replies arrive); refused (503, as the reply would arrive too late)",
            "result",
        )
        self._oldest_age = Gauge(
            "kairos_gateway_oldest_decision_seconds",
            "Age of the oldest decision in flight",
            registry=self._registry,
        )
        self._expired_actions = self._counter(
            "expired", "Actions that arrived too late to be shown"
        )
        self._unproven_messages = self._counter(
            "unproven", "Messages of public sources with unproven identifiers", "source"
        )
        self._connections = Gauge(
            "kairos_gateway_connections", "Open connections", registry=self._registry
        )
        self._closed_connections = self._counter(
            "connections_closed", "Connections closed by the gateway, by reason", "reason"
        )

    def count_answer(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_unproven(self, source: str) -> None:
        self._unproven_messages.labels(source).inc()

    def set_connections(self, count: int) -> None:
        self._connections.set(count)

    def count_closed_connection(self, reason: str) -> None:
        self._closed_connections.labels(reason).inc()

    def count_accepted(self, interactions: Iterable[Interaction]) -> None:
        for kind, count in Tally(interaction.kind for interaction in interactions).items():
            self._accepted_interactions.labels(kind).inc(count)

    def count_rejected(self, refusal: Refusal) -> None:
        self._rejected_messages.labels(refusal.code).inc()

    def count_unavailable(self) -> None:
        self._unavailable_writes.inc()

    def count_decision(self, result: str) -> None:
        self._decisions.labels(result).inc()

    def follow_oldest_decision(self, age_s: Callable[[], float]) -> None:
        """Show the age of the oldest decision in flight, which `age_s` returns."""
        self._oldest_age.set_function(age_s)

    def count_expired(self, action_count: int) -> None:
        self._expired_actions.inc(action_count)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"kairos_gateway_{name}", description, labels, registry=self._registry)
