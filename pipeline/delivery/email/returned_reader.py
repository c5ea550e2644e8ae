"""Reader of the Maildirs of bounces and complaints.

A message stays in `new` until the gateway has accepted its outcome; then it is in `cur`, marked as
seen, and also flagged if no outcome could be reported. Several instances of the adapter read the
same folder: returned mail about a message of another instance is left to the others for an hour.
"""

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client import Counter

from pipeline.adapters.clock import now_ms
from pipeline.adapters.returned_mail import OtherMail, ReturnedMail, parse_returned_mail
from pipeline.config.keys import expand_variables
from pipeline.delivery.channel_adapter import AdapterHost
from pipeline.delivery.reporter import OutcomeReport

_log = logging.getLogger(__name__)

_MESSAGES: Final = Counter(
    "kairos_email_returned",
    "Messages in the Maildirs of bounces and complaints: the outcome, or unmatched or other",
    ["result"],
)
_POLL_S: Final = 2.0
_RETRY_S: Final = 30.0
_FOREIGN_MAIL_S: Final = 3600.0
_MAX_BYTES: Final = 10_000_000
_SEEN_SUFFIX: Final = ":2,S"
_FLAGGED_SUFFIX: Final = ":2,FS"


async def read_returned_mail(host: AdapterHost) -> None:
    """Read returned mail until cancelled; a folder that cannot be read is tried again."""
    foreign_messages: dict[Path, set[Path]] = {}
    while True:
        wait_s = _POLL_S
        for folder in _folders(host):
            try:
                foreign_messages[folder] = await _read_folder(
                    folder, host, foreign_messages.get(folder, set())
                )
            except OSError as error:
                _log.warning("%s: bounces and complaints are not read: %s", folder, error)
                wait_s = _RETRY_S
        await asyncio.sleep(wait_s)


def _folders(host: AdapterHost) -> Iterator[Path]:
    for channel in host.channels():
        template = channel.email.returned if channel.email else None
        folder = expand_variables(template, os.environ) if template else None
        if folder is not None:
            yield Path(folder)


async def _read_folder(folder: Path, host: AdapterHost, former_messages: set[Path]) -> set[Path]:
    """Read the new messages; return those that are left to other instances.

    `former_messages`: those left to other instances before, not read again while they are fresh.
    """
    foreign_messages: set[Path] = set()
    (folder / "cur").mkdir(exist_ok=True)
    for path in sorted((folder / "new").iterdir()):
        with suppress(FileNotFoundError):  # another instance has read it
            is_fresh = time.time() - path.stat().st_mtime < _FOREIGN_MAIL_S
            if (path in former_messages and is_fresh) or not await _read_message(
                path, host, is_fresh=is_fresh
            ):
                foreign_messages.add(path)
    return foreign_messages


async def _read_message(path: Path, host: AdapterHost, *, is_fresh: bool) -> bool:
    """Report a message, and move it to `cur`; return False where it is left in `new`."""
    with path.open("rb") as file:
        raw = file.read(_MAX_BYTES)
    mail = parse_returned_mail(raw)
    if is_fresh and isinstance(mail, ReturnedMail) and _token(mail, host) is None:
        return False
    result = await _report(mail, host)
    _MESSAGES.labels(result).inc()
    is_reported = result not in ("unmatched", "other")
    name = path.name.partition(":")[0] + (_SEEN_SUFFIX if is_reported else _FLAGGED_SUFFIX)
    path.rename(path.parent.parent / "cur" / name)
    return True


def _token(mail: ReturnedMail, host: AdapterHost) -> str | None:
    """Return the token of the returned message; None: this instance did not send it."""
    return (host.token_of(mail.action_id) if mail.action_id else None) or mail.token


async def _report(mail: ReturnedMail | OtherMail, host: AdapterHost) -> str:
    """Report the outcome in a message; return the result for the metric."""
    if isinstance(mail, OtherMail):
        return "other"
    token = _token(mail, host)
    if token is None:
        return "unmatched"
    report = OutcomeReport(token, mail.outcome, now_ms(), properties=dict(mail.properties))
    rejection = await host.report(report)
    return mail.outcome if rejection is None else "unmatched"
