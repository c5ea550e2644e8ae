"""Dead letters: inputs that could not be processed, as records that can always be written.

An original is stored in full up to the size limit of inputs. A larger one is truncated, which the
detail states; topic, partition and offset locate the original.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct, field

from pipeline.model import sizes
from pipeline.model.outcome import DeadLetter

MAX_BYTES: Final = sizes.INPUT + (128 << 10)
"""Largest size of a dead letter, in bytes."""

_MAX_HEADERS_BYTES: Final = 64 << 10
_MAX_DETAIL: Final = 4_000
"""Maximum number of characters of a detail; in UTF-8 a character may take four bytes."""


class FailedInput(Struct, frozen=True):
    """Input that could not be processed, received at `at` (epoch ms).

    Partition and offset are -1 if it was never in `topic`.
    """

    topic: str
    at: int
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int = -1
    offset: int = -1


class DeadLetterRecord(Struct, frozen=True):
    """Value of `dead-letters`; `reason`: a short code, `detail`: its description."""

    stage: str
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    at: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes] = field(default_factory=dict)


def dead_letter(stage: str, failed_input: FailedInput, fault: DeadLetter) -> DeadLetterRecord:
    """Return the dead letter of an input that `stage` could not process for `fault`."""
    headers = dict(_fitting_headers(failed_input.headers, _MAX_HEADERS_BYTES))
    notes = {
        "key": _cut_note(failed_input.key, sizes.KEY),
        "value": _cut_note(failed_input.value, sizes.INPUT),
        "headers": _count_note(len(headers), len(dict(failed_input.headers))),
    }
    return DeadLetterRecord(
        stage=stage,
        reason=fault.reason,
        detail="; ".join((fault.detail[:_MAX_DETAIL], *_cut_notes(notes))),
        topic=failed_input.topic,
        partition=failed_input.partition,
        offset=failed_input.offset,
        at=failed_input.at,
        key=None if failed_input.key is None else failed_input.key[: sizes.KEY],
        value=None if failed_input.value is None else failed_input.value[: sizes.INPUT],
        headers=headers,
    )


def _fitting_headers(
    headers: Sequence[tuple[str, bytes]], max_bytes: int
) -> Iterator[tuple[str, bytes]]:
    """Yield headers from the first on while they fit into `max_bytes`; values may be missing."""
    size = 0
    for name, value in headers:
        size += len(name.encode()) + len(value or b"")
        if size > max_bytes:
            return
        yield name, value or b""


def _cut_note(data: bytes | None, max_bytes: int) -> str | None:
    if data is None or len(data) <= max_bytes:
        return None
    return f"{max_bytes} of {len(data)} bytes"


def _count_note(count: int, total: int) -> str | None:
    return None if count == total else f"{count} of {total}"


def _cut_notes(notes: dict[str, str | None]) -> Iterator[str]:
    return (f"{part} cut: {note}" for part, note in notes.items() if note is not None)
