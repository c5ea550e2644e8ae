"""Kills at random moments during a test, by a seed that is printed (`KAIROS_CHAOS_SEED`)."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from random import Random
from typing import Final

import psutil
import pytest

from tests.support.stack import Stack

SEED: Final = int(os.environ.get("KAIROS_CHAOS_SEED", "1"))
NOTES: Final = pytest.StashKey[list[str]]()
"""Lines to print at the end of every run, also of a failed one."""

_JOIN_TIMEOUT_S: Final = 150.0


@contextmanager
def kills(
    stack: Stack, names: Sequence[str], pause_s: tuple[float, float], random: Random
) -> Iterator[Counter[str]]:
    """Kill a random one of the processes after each pause during the block, even one that is
    starting; provide the number of kills by process. At the end wait until all run again."""
    counts: Counter[str] = Counter()
    end_event = threading.Event()

    def kill_repeatedly() -> None:
        while not end_event.wait(random.uniform(*pause_s)):
            name = random.choice(names)
            with suppress(psutil.NoSuchProcess):
                stack.process(name).kill()
                counts[name] += 1

    thread = threading.Thread(target=kill_repeatedly, daemon=True)
    thread.start()
    try:
        yield counts
    finally:
        end_event.set()
        thread.join(_JOIN_TIMEOUT_S)
        stack.wait_until_ready(*names)


@contextmanager
def short_stops(stack: Stack, names: Sequence[str], random: Random) -> Iterator[None]:
    """Stop one of the processes for up to 1.5 s, repeatedly during the block."""
    end_event = threading.Event()

    def stop_repeatedly() -> None:
        while not end_event.wait(random.uniform(2, 5)):
            with suppress(psutil.NoSuchProcess):
                process = stack.process(random.choice(names))
                process.suspend()
                time.sleep(random.uniform(0.2, 1.5))
                process.resume()

    thread = threading.Thread(target=stop_repeatedly, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end_event.set()
        thread.join(_JOIN_TIMEOUT_S)
