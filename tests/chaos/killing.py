"""Kills at random moments beside a test, by a seed that is printed (`KAIROS_CHAOS_SEED`)."""

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
"""Lines that are printed at the end of every run, failed or not."""

_END_S: Final = 150.0


@contextmanager
def kills(
    stack: Stack, names: Sequence[str], pause_s: tuple[float, float], random: Random
) -> Iterator[Counter[str]]:
    """Kill one of the processes after each pause during the block, also while it starts; afterwards
    all of them run again. Provide the number of kills of each."""
    kills: Counter[str] = Counter()
    end_event = threading.Event()

    def kill_on() -> None:
        while not end_event.wait(random.uniform(*pause_s)):
            name = random.choice(names)
            with suppress(psutil.NoSuchProcess):
                stack.process(name).kill()
                kills[name] += 1

    thread = threading.Thread(target=kill_on, daemon=True)
    thread.start()
    try:
        yield kills
    finally:
        end_event.set()
        thread.join(_END_S)
        stack.wait_until_ready(*names)


@contextmanager
def silences(stack: Stack, names: Sequence[str], random: Random) -> Iterator[None]:
    """Stop one of the processes for a while, again and again during the block."""
    end_event = threading.Event()

    def stop_on() -> None:
        while not end_event.wait(random.uniform(2, 5)):
            with suppress(psutil.NoSuchProcess):
                process = stack.process(random.choice(names))
                process.suspend()
                time.sleep(random.uniform(0.2, 1.5))
                process.resume()

    thread = threading.Thread(target=stop_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end_event.set()
        thread.join(_END_S)
