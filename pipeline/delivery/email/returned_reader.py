"""Reader of the Maildirs into which bounces and complaints are delivered.

A message stays in `new` until the gateway has its outcome; then it is in `cur`, marked as seen, and
also flagged if no outcome was found in it.
"""

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client import Counter

from pipeline.adapters.clock import now_ms
from pipeline.adapters.returned_mail import OtherMail, ReturnedMail, parse_returned
from pipeline.config.keys import expand_variables
from pipeline.delivery.channel_adapter import AdapterHost
from pipeline.delivery.reporter import OutcomeReport

_log = logging.getLogger(__name__)

_RETURNED: Final = Counter(
    "kairos_email_returned",
    "Messages in the Maildirs of bounces and complaints: the outcome, or unmatched or other",
    ["result"],
)
_LOOK_S: Final = 2.0
_AFTER_FAILURE_S: Final = 30.0
_MAX_BYTES: Final = 10_000_000
_SEEN: Final = ":2,S"
_FLAGGED: Final = ":2,FS"


async def read_returned_mail(host: AdapterHost) -> None:
    """Read until it is cancelled; a folder that cannot be read is tried again."""
    while True:
        wait_s = _LOOK_S
        for folder in _folders(host):
            try:
                await _read_folder(folder, host)
            except OSError as error:
                _log.warning("%s: bounces and complaints are not read: %s", folder, error)
                wait_s = _AFTER_FAILURE_S
        await asyncio.sleep(wait_s)


def _folders(host: AdapterHost) -> Iterator[Path]:
    for channel in host.channels():
        written = channel.email.returned if channel.email else None
        folder = expand_variables(written, os.environ) if written else None
        if folder is not None:
            yield Path(folder)


async def _read_folder(folder: Path, host: AdapterHost) -> None:
    for path in sorted((folder / "new").iterdir()):
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES)
        result = await _report(parse_returned(raw), host)
        _RETURNED.labels(result).inc()
        understood = result not in ("unmatched", "other")
        seen = path.name.partition(":")[0] + (_SEEN if understood else _FLAGGED)
        path.rename(folder / "cur" / seen)


async def _report(found: ReturnedMail | OtherMail, host: AdapterHost) -> str:
    """Report the outcome in a message; return the result for the metric."""
    if isinstance(found, OtherMail):
        return "other"
    token = (host.token_of(found.action_id) if found.action_id else None) or found.token
    if token is None:
        return "unmatched"
    report = OutcomeReport(token, found.outcome, now_ms(), properties=dict(found.properties))
    refused = await host.report(report)
    return found.outcome if refused is None else "unmatched"
