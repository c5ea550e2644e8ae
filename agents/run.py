"""Runner of one or several apps in this process, until a signal or a failure."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Sequence

import uvloop

from agents.app import App

_log = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_FAILURE = 1

_STOP_TIMEOUT_S = 20.0
_FAILED_STOP_TIMEOUT_S = 3.0
"""Short, since a failed worker commits nothing, and other workers wait for its partitions."""

_GC_THRESHOLDS = (10_000, 20, 20)
"""Thresholds of garbage collection, high since records create many objects and no cycles."""


def exempt_from_collection() -> None:
    """Exempt all existing objects from garbage collection, and collect less often.

    A full collection takes a tenth of a second, in which no input is processed.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def run(apps: Sequence[App]) -> int:
    """Run `apps` until SIGTERM or SIGINT; return the exit code 0.

    After a failure, also one to stop, this function does not return: the process ends with code 1,
    so that a supervisor starts it again.
    """
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    code = runner.run(_run(apps))
    if code != EXIT_OK:
        _log_failure(apps)
        # A thread that did not stop (in a call to an unreachable broker) must not keep the process
        # alive.
        logging.shutdown()
        os._exit(code)
    runner.close()
    return code


async def _run(apps: Sequence[App]) -> int:
    stop = _stop_on_signals()
    tasks = [asyncio.ensure_future(_run_app(app)) for app in apps]
    stop_task = asyncio.ensure_future(stop.wait())
    await asyncio.wait([stop_task, *tasks], return_when=asyncio.FIRST_COMPLETED)
    failed = not stop.is_set()
    stopped_cleanly = await _stop(apps, _FAILED_STOP_TIMEOUT_S if failed else _STOP_TIMEOUT_S)
    for task in tasks:
        task.cancel()
    return (
        EXIT_OK if stopped_cleanly and not failed and not _has_crashed_app(apps) else EXIT_FAILURE
    )


def _log_failure(apps: Sequence[App]) -> None:
    """Log the failure that ended the worker as the last line; others may be its consequence."""
    reasons = [app.failure for app in apps if app.failure is not None]
    _log.critical("the worker ends: %s", reasons[0] if reasons else "an app could not be stopped")


def _has_crashed_app(apps: Sequence[App]) -> bool:
    return any(app.crashed for app in apps)


async def _run_app(app: App) -> None:
    """Start `app`; return when it has crashed."""
    try:
        await app.wait(app.start())  # may wait for a broker while another app fails
        await app.wait_until_stopped()
    except Exception as error:
        app.fail(error)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _stop(apps: Sequence[App], timeout_s: float) -> bool:
    """Stop all apps; return whether all stopped without an error and in time."""
    try:
        async with asyncio.timeout(timeout_s):
            results = await asyncio.gather(*(app.stop() for app in apps), return_exceptions=True)
    except TimeoutError:
        _log.critical("stopping took more than %g s", timeout_s)
        return False
    errors = [error for error in results if error is not None]
    for error in errors:
        _log.critical("while stopping: %s", error, exc_info=error)
    return not errors
