"""Dead letters: inputs that could not be processed, as records that can always be written.

An original is kept in full up to the size limit of inputs. Larger ones are cut, which the detail
says; topic, partition and offset tell where the whole is.
"""

from collections.abc import Iterator
from typing import Final

from agents.headers import Headers
from agents.ports import Message
from pipeline.model import sizes
from pipeline.model.dead_letter import DeadLetterRecord
from pipeline.model.outcome import DeadLetter

LARGEST: Final = sizes.INPUT + (128 << 10)
"""Largest size of a dead letter, in bytes."""

_HEADERS: Final = 64 << 10
_DETAIL: Final = 4_000
"""Characters, of which UTF-8 may need four bytes each."""


def key_of(message: Message) -> bytes:
    """Return the key of the message's dead letter."""
    return message.key[: sizes.KEY]


def dead_letter(stage: str, message: Message, fault: DeadLetter) -> DeadLetterRecord:
    """Return the dead letter of `message`, which `stage` could not process for `fault`."""
    headers = dict(_within(message.headers, _HEADERS))
    value = None if message.value is None else message.value[: sizes.INPUT]
    left_out = {
        "key": _cut(message.raw_key, sizes.KEY),
        "value": _cut(message.value, sizes.INPUT),
        "headers": _fewer(len(headers), len(dict(message.headers))),
    }
    return DeadLetterRecord(
        stage=stage,
        reason=fault.reason,
        detail="; ".join((fault.detail[:_DETAIL], *_said(left_out))),
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        at=message.timestamp_ms,
        key=None if message.raw_key is None else key_of(message),
        value=value,
        headers=headers,
    )


def _within(headers: Headers, most: int) -> Iterator[tuple[str, bytes]]:
    """Yield headers from the first on while they fit into `most` bytes; values may be missing."""
    size = 0
    for name, value in headers:
        size += len(name.encode()) + len(value or b"")
        if size > most:
            return
        yield name, value or b""


def _cut(data: bytes | None, most: int) -> str | None:
    if data is None or len(data) <= most:
        return None
    return f"{most} of {len(data)} bytes"


def _fewer(kept: int, there: int) -> str | None:
    return None if kept == there else f"{kept} of {there}"


def _said(left_out: dict[str, str | None]) -> Iterator[str]:
    return (f"{what} cut: {how}" for what, how in left_out.items() if how is not None)
