"""Recognition of faults of channels, for all adapters."""

from collections.abc import Awaitable, Callable

from pipeline.delivery.channel_adapter import Delivered, DeliveryResult
from pipeline.delivery.retries import MisconfiguredError
from pipeline.home.channel_faults import ChannelFaults


async def note_faults(
    faults: ChannelFaults, channel: str, attempt_once: Callable[[], Awaitable[DeliveryResult]]
) -> DeliveryResult:
    """Attempt a delivery once; note the fault of the channel that prevents it, or its end."""
    try:
        result = await attempt_once()
    except MisconfiguredError as error:
        faults.add(channel, error.part, str(error))
        raise
    if isinstance(result, Delivered):
        faults.remove(channel, "")
    return result
