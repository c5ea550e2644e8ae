"""Common parts of all endpoints: configuration in force, metrics, writing to Kafka."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from pipeline.adapters import traces
from pipeline.adapters.avro import Codec
from pipeline.adapters.config_follower import ConfigurationFollower
from pipeline.adapters.kafka import AsyncPublisher, OutgoingRecord, Publication, UnacknowledgedWrite
from pipeline.adapters.signed_links import MessageLinks
from pipeline.adapters.traces import Trace
from pipeline.config.compile import Configuration
from pipeline.gateway.attempts import Attempts
from pipeline.gateway.metrics import Metrics
from pipeline.gateway.rate_limits import RateLimits
from pipeline.intake.refusal import Refusal, refuse_unavailable
from pipeline.model import topics
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.interaction import Interaction
from pipeline.rules.token import TokenKey


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of requests: bytes of an unpacked body, the number of items, and times in ms.

    `decide_ms` is the time budget of a decision, `token_ms` the maximum age of a token.
    """

    message_bytes: int
    batch_bytes: int
    max_items: int
    decide_ms: int
    token_ms: int
    log_decide_ms: int = 30_000
    """Time budget of a decision for a replayed log, which has no waiting customer."""


@dataclass(frozen=True, slots=True)
class TracedInteraction:
    """Interaction to write, with its trace."""

    interaction: Interaction
    trace: Trace


@dataclass(frozen=True, slots=True)
class Gateway:
    """Common parts of all endpoints.

    `instance` is the key of this process's replies; `adapter_key` is the write key of Kairos's own
    adapters.
    """

    instance: str
    limits: Limits
    configurations: ConfigurationFollower
    publisher: AsyncPublisher
    codec: Codec
    tokens: TokenKey
    links: MessageLinks
    adapter_key: str
    metrics: Metrics
    attempts: Attempts = field(default_factory=Attempts)
    rates: RateLimits = field(default_factory=RateLimits)

    def configuration(self) -> Configuration | Refusal:
        """Return the configuration in force, or the refusal of requests while there is none."""
        config = self.configurations.configuration_in_force()
        return config or refuse_unavailable("no configuration yet; run `kairos config apply DIR`")

    async def write(
        self,
        interactions: Sequence[TracedInteraction],
        dead_letters: Sequence[DeadLetterRecord] = (),
    ) -> UnacknowledgedWrite | None:
        """Write each interaction with its trace; return None once Kafka has acknowledged all
        records, or else the failure."""
        records = [self._record(interaction) for interaction in interactions]
        records += map(self._dead_letter, dead_letters)
        failure = await self.publisher.publish(records)
        self._count_interactions(interactions, failure)
        return failure

    def start_write(self, record: TracedInteraction) -> Publication:
        """Start to write an interaction, whose reply will serve as its acknowledgement."""
        publication = self.publisher.start((self._record(record),), is_awaited=False)
        publication.result.add_done_callback(
            lambda future: self._count_interactions((record,), future.result())
        )
        return publication

    def _count_interactions(
        self, interactions: Sequence[TracedInteraction], failure: UnacknowledgedWrite | None
    ) -> None:
        if failure is None:
            self.metrics.count_accepted([interaction.interaction for interaction in interactions])
        else:
            self.metrics.count_unavailable()

    def _record(self, record: TracedInteraction) -> OutgoingRecord:
        interaction = record.interaction
        return OutgoingRecord(
            topics.INTERACTIONS,
            interaction.identifiers[0].key,
            self.codec.encode(topics.INTERACTIONS, interaction),
            ((traces.HEADER, record.trace.hop_header()),),
        )

    def _dead_letter(self, dead_letter: DeadLetterRecord) -> OutgoingRecord:
        value = self.codec.encode(topics.DEAD_LETTERS, dead_letter)
        return OutgoingRecord(topics.DEAD_LETTERS, self.instance, value)


def trace_of(request: Request) -> Trace:
    """Return the caller's trace, or a new one."""
    return traces.continue_trace(request.headers.get(traces.HEADER))
