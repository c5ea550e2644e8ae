"""Seam between the courier and the adapters of channels.

An adapter delivers the actions of one kind of channel. Everything else is done for it: order per
profile, deadlines, the ledger against duplicates, outcomes, dead letters.
"""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from pipeline.adapters.traces import Trace
from pipeline.config.compiled import CompiledChannel
from pipeline.model.decision import Action

_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class Parcel:
    """Action to deliver, with the time (epoch ms) at which Kafka got it, and its trace."""

    action: Action
    written_ms: int
    trace: Trace

    @property
    def give_up_s(self) -> float:
        """Time (epoch s) until which the action is worth delivering.

        It counts from Kafka's timestamp, because the action's own times may be those of a log that
        is replayed, years in the past.
        """
        left_ms = self.action.deadline_at - self.action.created_at
        return (self.written_ms + left_ms) / _MS

    def own_time_ms(self) -> int:
        """Return the present time by the clock of the action's times."""
        return self.action.created_at + max(0, round(time.time() * _MS) - self.written_ms)


@dataclass(frozen=True, slots=True)
class Delivered:
    """Acceptance by the receiver."""


@dataclass(frozen=True, slots=True)
class Bounced:
    """Permanent refusal by the receiver."""

    status: int


@dataclass(frozen=True, slots=True)
class OutOfTime:
    """Deadline that passed before the receiver accepted the action; `last` is the last failure.

    `unsure`: the receiver may have accepted it, and its answer never came.
    """

    last: str
    unsure: bool = False


DeliveryResult: TypeAlias = Delivered | Bounced | OutOfTime


class ChannelAdapter(Protocol):
    """Adapter of one kind of channel."""

    def serves(self, channel: str) -> bool:
        """Return whether the configuration in force lets this adapter deliver on the channel."""
        ...

    async def deliver(self, parcel: Parcel) -> DeliveryResult:
        """Deliver at least once until `parcel.give_up_s`, with the action's id as the key by which
        a receiver recognises duplicates.
        """
        ...


FindChannel: TypeAlias = Callable[[str], CompiledChannel | None]
"""Looks up a channel in the configuration in force."""

OpenAdapter: TypeAlias = Callable[[FindChannel], AbstractAsyncContextManager[ChannelAdapter]]
"""Opens an adapter for the time that its process runs."""
