"""Processes that judge the rows of a large file while this one reads it.

Python runs on one core at a time, so reading and judging share two. Results come in the order of
the rows, and no more rows are under way than a few pieces for each helper.
"""

import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Final

from pipeline.adapters.avro import Codec, SchemaVersion
from pipeline.config.compile import Configuration
from pipeline.ingest.judging import Judge, JudgedRows, WatchedFile, open_judge
from pipeline.row_files.row import ReadRow

_PIECE: Final = 512
_AHEAD: Final = 3
"""Pieces for each helper that are judged or wait."""

_MOST_HELPERS: Final = 3
"""More could not be fed by one reader."""

_judges: Final[list[Judge]] = []
"""The judge of this process, where it is a helper."""


def count_helpers() -> int:
    """Return how many helpers use this machine's cores; 0 where there is one core."""
    cores = len(os.sched_getaffinity(0))
    return min(_MOST_HELPERS, cores) if cores > 1 else 0


def judge_here(rows: Iterable[ReadRow], judge: Judge) -> Iterator[JudgedRows]:
    """Yield all rows, judged by this process."""
    return map(judge.judge_rows, _pieces(rows))


def judge_with_helpers(
    rows: Iterable[ReadRow], file: WatchedFile, config: Configuration, codec: Codec
) -> Iterator[JudgedRows]:
    """Yield all rows in their order, judged by helpers. Raises BrokenExecutor where one ends."""
    helpers = count_helpers()
    under_way: deque[Future[JudgedRows]] = deque()
    with ProcessPoolExecutor(
        helpers,
        mp_context=get_context("spawn"),
        initializer=_begin,
        initargs=(file, config.to_json(), codec.versions),
    ) as pool:
        for piece in _pieces(rows):
            under_way.append(pool.submit(_judge, piece))
            if len(under_way) >= _AHEAD * helpers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def _pieces(rows: Iterable[ReadRow]) -> Iterator[Sequence[ReadRow]]:
    left = iter(rows)
    while piece := list(islice(left, _PIECE)):
        yield piece


def _begin(file: WatchedFile, config: str, versions: Sequence[SchemaVersion]) -> None:
    """Make this process a helper, which ends with its parent however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    _judges.append(open_judge(file, Configuration.from_json(config), Codec(versions)))


def _judge(rows: Sequence[ReadRow]) -> JudgedRows:
    return _judges[0].judge_rows(rows)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)
