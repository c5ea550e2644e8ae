"""Processes that judge the rows of a large file while this one reads it.

Python runs on one core at a time, so reading and judging share two. Each helper has a pipe of its
own, so that one that is killed, in the middle of an answer too, is noticed by the end of its pipe.
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
from pipeline.ingest.judging import Judge, JudgedRows, WatchedFile, open_judge
from pipeline.row_files.row import FileRow, ReadRow

_PIECE: Final = 512
_PIECE_BYTES: Final = 4 * 1024 * 1024
"""Size of wide rows that are judged at once: all helpers have a piece in memory, and its result."""

_MOST_HELPERS: Final = 3
"""More could not be fed by one reader."""


class HelperEndedError(Exception):
    """Raised when a helper ended before its work."""


def count_helpers() -> int:
    """Return how many helpers use this machine's cores; 0 where there is one core."""
    cores = len(sched_getaffinity(0))
    return min(_MOST_HELPERS, cores) if cores > 1 else 0


def judge_here(rows: Iterable[ReadRow], judge: Judge) -> Iterator[JudgedRows]:
    """Yield all rows, judged by this process."""
    return map(judge.judge_rows, _pieces(rows))


def judge_with_helpers(
    rows: Iterable[ReadRow], file: WatchedFile, config: Configuration, codec: Codec
) -> Iterator[JudgedRows]:
    """Yield all rows in their order, judged by helpers. Raises HelperEndedError."""
    helpers = [_Helper(file, config, codec) for _ in range(count_helpers())]
    idle, busy = deque(helpers), deque[_Helper]()
    try:
        for piece in _pieces(rows):
            if not idle:
                yield busy[0].take()
                idle.append(busy.popleft())
            busy.append(idle.popleft())
            busy[-1].give(piece)
        while busy:
            yield busy.popleft().take()
    finally:
        for helper in helpers:
            helper.end()


class _Helper:
    """Process that judges one piece at a time: `give` it, then `take` its result."""

    def __init__(self, file: WatchedFile, config: Configuration, codec: Codec) -> None:
        context = get_context("spawn")
        self._pipe, other_end = context.Pipe()
        self._process = context.Process(
            target=_help, args=(other_end, file, config.to_json(), codec.versions), daemon=True
        )
        self._process.start()
        other_end.close()

    def give(self, piece: Sequence[ReadRow]) -> None:
        """Send a piece. Raises HelperEndedError."""
        try:
            self._pipe.send(piece)
        except OSError as error:
            raise HelperEndedError(self._why()) from error

    def take(self) -> JudgedRows:
        """Wait for the piece's result. Raises HelperEndedError."""
        try:
            result: JudgedRows = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise HelperEndedError(self._why()) from error
        return result

    def end(self) -> None:
        """End the process; a piece that it still has is lost."""
        self._pipe.close()
        self._process.join()

    def _why(self) -> str:
        self._process.join()
        return f"a helper process ended with {self._process.exitcode}"


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


def _help(
    pipe: Connection, file: WatchedFile, config: str, versions: Sequence[SchemaVersion]
) -> None:
    """Judge pieces until the other end of the pipe is closed, or its process has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    judge = open_judge(file, Configuration.from_json(config), Codec(versions))
    try:
        while True:
            pipe.send(judge.judge_rows(pipe.recv()))
    except (EOFError, OSError):
        return
