"""Dead letters: inputs that could not be processed, as records that can always be written.

An original is kept in full up to the size limit of inputs. A larger one is truncated, as the detail
says; topic, partition and offset locate the whole.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct, field

from pipeline.model import sizes
from pipeline.model.outcome import DeadLetter

LARGEST: Final = sizes.INPUT + (128 << 10)
"""Largest size of a dead letter, in bytes."""

_HEADERS: Final = 64 << 10
_DETAIL: Final = 4_000
"""Characters, of which UTF-8 may need four bytes each."""


class FailedInput(Struct, frozen=True):
    """Input that could not be processed, received at `at` (epoch ms).

    Partition and offset are -1 if it never was in `topic`.
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


def dead_letter(stage: str, failed: FailedInput, fault: DeadLetter) -> DeadLetterRecord:
    """Return the dead letter of an input that `stage` could not process for `fault`."""
    headers = dict(_fitting_headers(failed.headers, _HEADERS))
    left_out = {
        "key": _cut_note(failed.key, sizes.KEY),
        "value": _cut_note(failed.value, sizes.INPUT),
        "headers": _count_note(len(headers), len(dict(failed.headers))),
    }
    return DeadLetterRecord(
        stage=stage,
        reason=fault.reason,
        detail="; ".join((fault.detail[:_DETAIL], *_cut_notes(left_out))),
        topic=failed.topic,
        partition=failed.partition,
        offset=failed.offset,
        at=failed.at,
        key=None if failed.key is None else failed.key[: sizes.KEY],
        value=None if failed.value is None else failed.value[: sizes.INPUT],
        headers=headers,
    )


def _fitting_headers(
    headers: Sequence[tuple[str, bytes]], most: int
) -> Iterator[tuple[str, bytes]]:
    """Yield headers from the first on while they fit into `most` bytes; values may be missing."""
    size = 0
    for name, value in headers:
        size += len(name.encode()) + len(value or b"")
        if size > most:
            return
        yield name, value or b""


def _cut_note(data: bytes | None, most: int) -> str | None:
    if data is None or len(data) <= most:
        return None
    return f"{most} of {len(data)} bytes"


def _count_note(kept: int, total: int) -> str | None:
    return None if kept == total else f"{kept} of {total}"


def _cut_notes(left_out: dict[str, str | None]) -> Iterator[str]:
    return (f"{part} cut: {note}" for part, note in left_out.items() if note is not None)
