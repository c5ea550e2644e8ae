"""Dictionaries of bounded size, which drop their oldest entries."""

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def put(entries: dict[K, V], key: K, value: V, max_count: int) -> None:
    """Set an entry; drop the oldest one if there are more than `max_count`.

    An entry that is set again keeps its age.
    """
    entries[key] = value
    if len(entries) > max_count:
        del entries[next(iter(entries))]
