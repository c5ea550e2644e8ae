"""Interface between the courier and the adapters of channels.

An adapter delivers the actions of one kind of channel. The process does the rest: order per
profile, the ledger against duplicates, outcomes, dead letters.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from pipeline.adapters.clock import now_ms
from pipeline.adapters.traces import Trace
from pipeline.config.compiled import CompiledChannel
from pipeline.delivery.reporter import OutcomeReport, RejectedOutcome
from pipeline.home.channel_faults import ChannelFaults
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier

_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class Parcel:
    """Action to deliver, with its time in Kafka (epoch ms), and its trace."""

    action: Action
    written_ms: int
    trace: Trace

    @property
    def deadline_s(self) -> float:
        """Deadline (epoch s) of the delivery.

        It counts from Kafka's timestamp, because the action's own times may be those of a replayed
        log, years in the past.
        """
        lifetime_ms = self.action.deadline_at - self.action.created_at
        return (self.written_ms + lifetime_ms) / _MS

    def own_time_ms(self) -> int:
        """Return the present time (ms) by the clock of the action's times."""
        return self.action.created_at + max(0, now_ms() - self.written_ms)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Result: the receiver has accepted the action; `details` become outcome properties."""

    details: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bounce:
    """Result: the receiver refuses the action for good; `details` become outcome properties."""

    status: int
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UnconfirmedAttempt:
    """Result: an attempt had no answer, and must not be repeated; `failure` describes it."""

    failure: str


@dataclass(frozen=True, slots=True)
class MissedDeadline:
    """Result: the deadline passed before the receiver accepted; `failure` is the last one.

    `unsure`: the receiver may have accepted it, and its answer never came.
    """

    failure: str
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Result: the action was cancelled for `reason` before the receiver accepted it.

    `unsure`: the receiver may have accepted it, and its answer never came.
    """

    reason: str
    unsure: bool = False


DeliveryResult: TypeAlias = Acceptance | Bounce | MissedDeadline | UnconfirmedAttempt | Withdrawal


class MessageCancelledError(Exception):
    """Raised when the action was cancelled, so that it must not be tried again; the message is the
    reason."""


class Attempt(Protocol):
    """Record on disk of an attempt, written before the receiver can have the action."""

    def begin(self) -> None:
        """Record that the receiver may have the action from now on, before each try.

        Raises MessageCancelledError, which ends the delivery.
        """
        ...

    def record_failure(self) -> None:
        """Record that the receiver certainly does not have the action."""
        ...


class ChannelAdapter(Protocol):
    """Adapter of one kind of channel."""

    def serves(self, channel: str) -> bool:
        """Return whether the configuration in force lets this adapter deliver on the channel."""
        ...

    def may_repeat(self, channel: str) -> bool:
        """Return whether an action of unknown fate after a crash is delivered again."""
        ...

    async def deliver(self, parcel: Parcel, attempt: Attempt) -> DeliveryResult:
        """Deliver until `parcel.deadline_s`, with the action's id as the key by which a receiver
        recognises duplicates, if it does.
        """
        ...


FindChannel: TypeAlias = Callable[[str], CompiledChannel | None]
"""Lookup of a channel in the configuration in force."""


@dataclass(frozen=True, slots=True)
class AdapterHost:
    """Services of an adapter's process.

    `channels` returns the adapter's channels in the configuration in force, `token_of` the token of
    an action that this process delivered, and `report` posts an outcome to the gateway.
    `signing_secret` signs links. `unlink` removes the first identifier from the second's person.
    `faults` records the faults that hold back all messages of a channel.
    """

    find_channel: FindChannel
    channels: Callable[[], Sequence[CompiledChannel]]
    token_of: Callable[[str], str | None]
    report: Callable[[OutcomeReport], Awaitable[RejectedOutcome | None]]
    signing_secret: str
    unlink: Callable[[Identifier, Identifier], Awaitable[None]]
    faults: ChannelFaults = field(default_factory=ChannelFaults)


OpenAdapter: TypeAlias = Callable[[AdapterHost], AbstractAsyncContextManager[ChannelAdapter]]
"""Opener of an adapter for the duration of its process."""
