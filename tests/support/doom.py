"""Kill of a worker from within, at a named point of the commit protocol or of a restoration."""

import inspect
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from agents.store.catch_up import CatchUp
from agents.store.partition import PartitionStore
from agents.store.replay import Replay
from agents.store.table import RawTable
from agents.transport.checkpoint import Checkpointer
from agents.transport.consumer import Consumer
from agents.transport.epochs import Epoch
from agents.transport.micro_batch import MicroBatch
from agents.transport.poller import Poller
from agents.transport.producer import Producer


@dataclass(frozen=True, slots=True)
class Point:
    """Point before call number `call_number` of `owner.method`, or after it if `is_after`.
    `needs_restoration`: only a worker that has state to rebuild reaches it."""

    owner: type
    method: str
    call_number: int
    is_after: bool = False
    needs_restoration: bool = False


POINTS: Final[dict[str, Point]] = {
    "an input is taken, its row is not written": Point(RawTable, "put_in", 300),
    "a row is written and not in the changelog": Point(Producer, "send_changelog", 300),
    "a row is handed over, its output is not": Point(Producer, "send_raw", 200),
    "an output is handed over and has not left": Point(Producer, "send_raw", 200, is_after=True),
    "a batch is about to be handed over": Point(MicroBatch, "flush", 20),
    "part of a batch has left": Point(Producer, "_produce", 300, is_after=True),
    "a row is delivered, its report is not read": Point(Epoch, "on_changelog", 200),
    "an output is delivered, its report is not read": Point(Epoch, "on_output", 200),
    "a cut is made and not delivered": Point(Producer, "wait_until_delivered", 2),
    "all is delivered and not committed": Point(Checkpointer, "_commit", 2),
    "a commit is on its way": Point(Poller, "_commit", 2, is_after=True),
    "all is committed and not on disk": Point(Checkpointer, "_persist", 2),
    "one partition is on disk, the others are not": Point(
        PartitionStore, "persist", 5, is_after=True
    ),
    "a changelog is read in part": Point(Replay, "apply", 1, is_after=True, needs_restoration=True),
    "changelogs are read and not taken over": Point(
        CatchUp, "take_over", 2, needs_restoration=True
    ),
    "changelogs are taken over by one stage": Point(
        CatchUp, "take_over", 1, is_after=True, needs_restoration=True
    ),
    "a changelog is read, the index of sent outputs is not": Point(
        Consumer, "load_sent_index", 2, needs_restoration=True
    ),
    "all is restored and nothing read": Point(
        Consumer, "load_sent_index", 1, is_after=True, needs_restoration=True
    ),
}
"""Points of a kill; each name states the last event before the kill, and the next one."""


def doom(name: str) -> None:
    """Arrange for SIGKILL to this process when it reaches the point of this name."""
    point = POINTS[name]
    call = getattr(point.owner, point.method)
    setattr(
        point.owner, point.method, (_coroutine if _is_coroutine(call) else _function)(call, point)
    )


def _function(call: Callable[..., Any], point: Point) -> Callable[..., Any]:
    calls = count(1)

    def call_doomed_method(*args: Any, **kwargs: Any) -> Any:
        is_nth = next(calls) == point.call_number
        _die(is_nth and not point.is_after)
        result = call(*args, **kwargs)
        _die(is_nth)
        return result

    return call_doomed_method


def _coroutine(call: Callable[..., Any], point: Point) -> Callable[..., Any]:
    calls = count(1)

    async def call_doomed_method(*args: Any, **kwargs: Any) -> Any:
        is_nth = next(calls) == point.call_number
        _die(is_nth and not point.is_after)
        result = await call(*args, **kwargs)
        _die(is_nth)
        return result

    return call_doomed_method


def _is_coroutine(call: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(call)


def _die(is_due: bool) -> None:
    if is_due:
        os.kill(os.getpid(), signal.SIGKILL)
