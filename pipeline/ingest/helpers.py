"""Processes that convert the rows of a large file while this process reads it.

A Python process runs on one core at a time, so reading and conversion use separate processes. Each
helper has its own pipe: the end of the pipe shows that the helper was killed, even during an
answer.
"""

import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from os import sched_getaffinity
from typing import Final

from pipeline.adapters.avro import Codec, SchemaVersion
from pipeline.config.compile import Configuration
from pipeline.ingest.row_conversion import ConvertedRows, RowConverter, WatchedFile, open_converter
from pipeline.row_files.row import FileRow, ReadRow

_MAX_BATCH_ROWS: Final = 512
_MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
"""Maximum size of a batch, since each helper has a batch and its result in memory."""

_MAX_HELPERS: Final = 3
"""Maximum number of helpers that one reader can supply with rows."""


class HelperEndedError(Exception):
    """Raised when a helper ended before it had finished."""


def count_helpers() -> int:
    """Return the number of helpers for this machine's cores; 0 for one core."""
    core_count = len(sched_getaffinity(0))
    return min(_MAX_HELPERS, core_count) if core_count > 1 else 0


def convert_here(rows: Iterable[ReadRow], converter: RowConverter) -> Iterator[ConvertedRows]:
    """Convert all rows in this process."""
    return map(converter.convert_rows, _batches(rows))


def convert_with_helpers(
    rows: Iterable[ReadRow], file: WatchedFile, config: Configuration, codec: Codec
) -> Iterator[ConvertedRows]:
    """Convert all rows in helpers, and yield them in order. Raises HelperEndedError."""
    helpers = [_Helper(file, config, codec) for _ in range(count_helpers())]
    idle_helpers, busy_helpers = deque(helpers), deque[_Helper]()
    try:
        for batch in _batches(rows):
            if not idle_helpers:
                yield busy_helpers[0].receive()
                idle_helpers.append(busy_helpers.popleft())
            busy_helpers.append(idle_helpers.popleft())
            busy_helpers[-1].send(batch)
        while busy_helpers:
            yield busy_helpers.popleft().receive()
    finally:
        for helper in helpers:
            helper.end()


class _Helper:
    """Process that converts one batch at a time: `send` it, then `receive` the result."""

    def __init__(self, file: WatchedFile, config: Configuration, codec: Codec) -> None:
        context = get_context("spawn")
        self._pipe, other_end = context.Pipe()
        self._process = context.Process(
            target=_run_helper,
            args=(other_end, file, config.to_json(), codec.versions),
            daemon=True,
        )
        self._process.start()
        other_end.close()

    def send(self, batch: Sequence[ReadRow]) -> None:
        """Send a batch. Raises HelperEndedError."""
        try:
            self._pipe.send(batch)
        except OSError as error:
            raise HelperEndedError(self._describe_end()) from error

    def receive(self) -> ConvertedRows:
        """Wait for the batch's result. Raises HelperEndedError."""
        try:
            result: ConvertedRows = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise HelperEndedError(self._describe_end()) from error
        return result

    def end(self) -> None:
        """End the process; its batch in progress is lost."""
        self._pipe.close()
        self._process.join()

    def _describe_end(self) -> str:
        self._process.join()
        return f"a helper process ended with exit code {self._process.exitcode}"


def _batches(rows: Iterable[ReadRow]) -> Iterator[Sequence[ReadRow]]:
    batch: list[ReadRow] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.original) + (len(row.raw) if isinstance(row, FileRow) else 0)
        if len(batch) == _MAX_BATCH_ROWS or size >= _MAX_BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _run_helper(
    pipe: Connection, file: WatchedFile, config: str, versions: Sequence[SchemaVersion]
) -> None:
    """Convert batches until the other end of the pipe is closed, or its process has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    converter = open_converter(file, Configuration.from_json(config), Codec(versions))
    try:
        while True:
            pipe.send(converter.convert_rows(pipe.recv()))
    except (EOFError, OSError):
        return
