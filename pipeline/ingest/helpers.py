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

_PIECE: Final = 512
_PIECE_BYTES: Final = 4 * 1024 * 1024
"""Maximum size of a piece, since each helper has a piece and its result in memory."""

_MAX_HELPERS: Final = 3
"""Maximum number of helpers that one reader can supply with rows."""


class HelperEndedError(Exception):
    """Raised when a helper ended before it had finished."""


def count_helpers() -> int:
    """Return the number of helpers for this machine's cores; 0 for one core."""
    cores = len(sched_getaffinity(0))
    return min(_MAX_HELPERS, cores) if cores > 1 else 0


def convert_here(rows: Iterable[ReadRow], converter: RowConverter) -> Iterator[ConvertedRows]:
    """Convert all rows in this process."""
    return map(converter.convert_rows, _pieces(rows))


def convert_with_helpers(
    rows: Iterable[ReadRow], file: WatchedFile, config: Configuration, codec: Codec
) -> Iterator[ConvertedRows]:
    """Convert all rows in helpers, and yield them in order. Raises HelperEndedError."""
    helpers = [_Helper(file, config, codec) for _ in range(count_helpers())]
    idle_helpers, busy_helpers = deque(helpers), deque[_Helper]()
    try:
        for piece in _pieces(rows):
            if not idle_helpers:
                yield busy_helpers[0].receive()
                idle_helpers.append(busy_helpers.popleft())
            busy_helpers.append(idle_helpers.popleft())
            busy_helpers[-1].send(piece)
        while busy_helpers:
            yield busy_helpers.popleft().receive()
    finally:
        for helper in helpers:
            helper.end()


class _Helper:
    """Process that converts one piece at a time: `send` it, then `receive` the result."""

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

    def send(self, piece: Sequence[ReadRow]) -> None:
        """Send a piece. Raises HelperEndedError."""
        try:
            self._pipe.send(piece)
        except OSError as error:
            raise HelperEndedError(self._describe_end()) from error

    def receive(self) -> ConvertedRows:
        """Wait for the piece's result. Raises HelperEndedError."""
        try:
            result: ConvertedRows = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise HelperEndedError(self._describe_end()) from error
        return result

    def end(self) -> None:
        """End the process; its piece in progress is lost."""
        self._pipe.close()
        self._process.join()

    def _describe_end(self) -> str:
        self._process.join()
        return f"a helper process ended with exit code {self._process.exitcode}"


def _pieces(rows: Iterable[ReadRow]) -> Iterator[Sequence[ReadRow]]:
    piece: list[ReadRow] = []
    size = 0
    for row in rows:
        piece.append(row)
        size += len(row.original) + (len(row.raw) if isinstance(row, FileRow) else 0)
        if len(piece) == _PIECE or size >= _PIECE_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _run_helper(
    pipe: Connection, file: WatchedFile, config: str, versions: Sequence[SchemaVersion]
) -> None:
    """Convert pieces until the other end of the pipe is closed, or its process has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    converter = open_converter(file, Configuration.from_json(config), Codec(versions))
    try:
        while True:
            pipe.send(converter.convert_rows(pipe.recv()))
    except (EOFError, OSError):
        return
