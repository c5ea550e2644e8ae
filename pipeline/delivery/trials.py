"""Trials of adapters, for `kairos adapter KIND --try`."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Final, TypeAlias

from pipeline.delivery.email.trial import send_trial as try_email
from pipeline.delivery.pos.trial import send_trial as try_pos
from pipeline.delivery.push.trial import send_trial as try_push
from pipeline.delivery.sms.trial import send_trial as try_sms
from pipeline.delivery.webhook_trial import send_trial as try_webhook

SendTrial: TypeAlias = Callable[[str, str | None, str], Coroutine[None, None, str]]
"""Function that sends a message to an address, by a given server or (None) a local one, with links
signed by a secret, and returns the result."""

TRIALS: Final[Mapping[str, SendTrial]] = {
    "email": try_email,
    "pos": try_pos,
    "push": try_push,
    "sms": try_sms,
    "webhook": try_webhook,
}
