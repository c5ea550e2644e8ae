"""Adapters by their name in channels.yaml: a new one needs a module, and a line here."""

from collections.abc import Mapping
from typing import Final

from pipeline.delivery import webhook
from pipeline.delivery.channel_adapter import OpenAdapter
from pipeline.delivery.email import adapter as email_adapter
from pipeline.delivery.pos import adapter as pos_adapter
from pipeline.delivery.push import adapter as push_adapter
from pipeline.delivery.sms import adapter as sms_adapter

ADAPTERS: Final[Mapping[str, OpenAdapter]] = {
    "email": email_adapter.open_adapter,
    "pos": pos_adapter.open_adapter,
    "push": push_adapter.open_adapter,
    "sms": sms_adapter.open_adapter,
    "webhook": webhook.open_adapter,
}
