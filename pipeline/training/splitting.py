"""Split of examples by time and customers."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Generic, Protocol, TypeVar

_TEST_START: Final = 0.7
"""Share of the examples, in the order of time, at which the test set begins."""

_HELD_BACK_FOLDS: Final = range(6, 8)
_TEST_FOLDS: Final = range(8, 10)
_FOLDS: Final = 10


class TimedExample(Protocol):
    """Example of a customer at a time (epoch ms)."""

    @property
    def profile_id(self) -> str: ...
    @property
    def decided_at(self) -> int: ...


_T = TypeVar("_T", bound=TimedExample)


@dataclass(frozen=True, slots=True)
class Split(Generic[_T]):
    """Parts of the examples.

    `train` and `held_back` have different customers, and their goals were known by `cut` (epoch
    ms); `test` has customers of neither, from the cut on.
    """

    train: Sequence[_T]
    held_back: Sequence[_T]
    test: Sequence[_T]
    cut: int


def split(examples: Sequence[_T], window_ms: int) -> Split[_T]:
    """Return the parts of examples that are in the order of time."""
    cut = examples[int(len(examples) * _TEST_START)].decided_at
    past_examples = [example for example in examples if example.decided_at + window_ms <= cut]
    return Split(
        train=[
            example
            for example in past_examples
            if fold(example.profile_id) < _HELD_BACK_FOLDS.start
        ],
        held_back=[
            example for example in past_examples if fold(example.profile_id) in _HELD_BACK_FOLDS
        ],
        test=[
            example
            for example in examples
            if example.decided_at >= cut and is_tested(example.profile_id)
        ],
        cut=cut,
    )


def is_tested(profile_id: str) -> bool:
    """Return whether a customer's examples are for the test."""
    return fold(profile_id) in _TEST_FOLDS


def fold(profile_id: str) -> int:
    """Return the number of the customer's fold, one of ten, always the same."""
    return int.from_bytes(blake2b(profile_id.encode(), digest_size=8).digest()) % _FOLDS
