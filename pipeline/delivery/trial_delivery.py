"""Common parts of all trials: one action, and an adapter's host without Kafka."""

from typing import Final
from uuid import uuid4

from pipeline.adapters import traces
from pipeline.adapters.clock import now_ms
from pipeline.config.compiled import CompiledChannel
from pipeline.delivery.channel_adapter import (
    Acceptance,
    AdapterHost,
    Bounce,
    ChannelAdapter,
    Parcel,
    Withdrawal,
)
from pipeline.delivery.reporter import OutcomeReport, RejectedOutcome
from pipeline.model.decision import Action
from pipeline.model.interaction import Identifier

_DEADLINE_MS: Final = 30_000
_NAME: Final = "trial"


class _UnrecordedAttempt:
    """Attempt that is not recorded, since its user sees the result."""

    def begin(self) -> None:
        """Record nothing."""

    def record_failure(self) -> None:
        """Record nothing."""


def trial_host(channel: CompiledChannel, secret: str) -> AdapterHost:
    """Return the host of an adapter that has only `channel`, and reports nothing."""

    async def report(_: OutcomeReport) -> RejectedOutcome | None:
        return None

    async def unlink(_: Identifier, __: Identifier) -> None:
        return None

    return AdapterHost(
        find_channel=lambda _: channel,
        channels=lambda: (channel,),
        token_of=lambda _: None,
        report=report,
        signing_secret=secret,
        unlink=unlink,
    )


async def deliver_trial(
    adapter: ChannelAdapter, channel: str, address: str, content: dict[str, str]
) -> str:
    """Deliver one action to `address`; return the result in words."""
    now = now_ms()
    action = Action(
        action_id=str(uuid4()),
        decision_id=_NAME,
        event_id=_NAME,
        profile_id=_NAME,
        identifier=Identifier(_NAME, address),
        purpose="service",
        campaign=_NAME,
        offer=_NAME,
        treatment=_NAME,
        channel=channel,
        placement=None,
        address=address,
        content=content,
        created_at=now,
        deadline_at=now + _DEADLINE_MS,
        token=_NAME,
    )
    result = await adapter.deliver(Parcel(action, now, traces.new_trace()), _UnrecordedAttempt())
    match result:
        case Acceptance(details):
            return " ".join(["accepted", *(f"{name}={value}" for name, value in details.items())])
        case Bounce(status, details):
            return f"refused: status {status}, {dict(details)}"
        case Withdrawal(reason):
            return f"cancelled: {reason}"
    return f"not accepted: {result.failure}"
