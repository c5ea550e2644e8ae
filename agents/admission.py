"""Admission of an input: decoding, and checks for errors of upstream apps."""

from msgspec import Struct
from msgspec.structs import replace

from agents.decoded_cache import DecodedCache
from agents.ports import Message, Ports
from pipeline.adapters.avro import MalformedRecord
from pipeline.model import sizes, topics
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import DeadLetter, Emit, Redirect
from pipeline.model.time import MAX_AHEAD_MS


class Admission:
    """Checks of one stage's inputs."""

    def __init__(self, ports: Ports, codec: DecodedCache) -> None:
        self._ports = ports
        self._codec = codec

    def decode(self, message: Message) -> Struct | DeadLetter:
        """Return the decoded input, or the dead letter of one that is unreadable or too large."""
        if message.value is None:
            return DeadLetter("empty-value", "the record has no value")
        if message.topic == topics.INTERACTIONS and (fault := _size_fault(message)):
            return fault
        if not _is_text(message.key):
            return DeadLetter("malformed-key", "the key is not UTF-8")
        record = self._codec.decode(message.topic, message.value)
        if isinstance(record, MalformedRecord):
            return DeadLetter(record.reason, record.detail)
        return record

    def check(
        self, interaction: Interaction, message: Message
    ) -> Interaction | DeadLetter | Redirect:
        """Check the time and partition that an upstream app chose; return the interaction if valid.

        Otherwise return its dead letter, or its redirect to the right partition.

        A `received_at` that is up to an hour later than the record's timestamp, which the broker
        sets, is replaced by that timestamp.
        """
        if interaction.received_at > message.timestamp_ms + MAX_AHEAD_MS:
            return DeadLetter(
                "time-in-future", "received_at: more than 1 h after the record's time"
            )
        if interaction.received_at < 0:
            return DeadLetter("time-before-1970", "received_at: must be milliseconds since 1970")
        if self._ports.partition_of(message.topic, message.key) != message.partition:
            return Redirect(Emit(message.topic, message.key.decode(errors="replace"), interaction))
        if interaction.received_at <= message.timestamp_ms:
            return interaction
        return replace(interaction, received_at=message.timestamp_ms)


def _size_fault(message: Message) -> DeadLetter | None:
    if len(message.key) > sizes.KEY:
        return too_large_dead_letter("the key has", len(message.key), sizes.KEY)
    if message.size > sizes.INPUT:
        return too_large_dead_letter("key and value have", message.size, sizes.INPUT)
    return None


def too_large_dead_letter(subject: str, size: int, limit: int) -> DeadLetter:
    """Return the dead letter of an input of `size` bytes, more than `limit`."""
    return DeadLetter("too-large", f"{subject} {size} bytes, more than {limit}")


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True
