"""Seeded random draws by name, so that an additional draw changes no other."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import log

_BITS = 53


@dataclass(frozen=True, slots=True)
class Draws:
    """Draws of one subject: the same seed, subject and name give the same number on any machine."""

    root: bytes

    @classmethod
    def of(cls, seed: int, *subject: object) -> "Draws":
        """Return draws of `subject`, independent of those of any other."""
        path = "/".join(map(str, (seed, *subject)))
        return cls(blake2b(path.encode(), digest_size=32).digest())

    def part(self, name: str) -> "Draws":
        """Return draws of a part of the subject."""
        return Draws(blake2b(name.encode(), key=self.root, digest_size=32).digest())

    def uniform(self, name: str) -> float:
        """Draw a number in [0, 1)."""
        digest = blake2b(name.encode(), key=self.root, digest_size=8).digest()
        return (int.from_bytes(digest) >> (64 - _BITS)) / (1 << _BITS)

    def happens(self, chance: float, name: str) -> bool:
        """Draw whether an event with this probability happens."""
        return self.uniform(name) < chance

    def number_between(self, low: float, high: float, name: str) -> float:
        """Draw a number in [low, high), evenly spread."""
        return low + (high - low) * self.uniform(name)

    def index(self, count: int, name: str) -> int:
        """Draw one of 0 to `count` − 1, each as likely."""
        return int(self.uniform(name) * count)

    def choice(self, shares: Mapping[str, float], name: str) -> str:
        """Draw one of the keys; the shares are their probabilities and add up to 1."""
        remainder = self.uniform(name)
        *first_keys, last_key = shares
        for key in first_keys:
            remainder -= shares[key]
            if remainder < 0:
                return key
        return last_key

    def exponential(self, mean: float, name: str) -> float:
        """Draw a waiting time with this mean."""
        return -mean * log(1.0 - self.uniform(name))

    def token(self, name: str, digits: int = 32) -> str:
        """Draw a hexadecimal id."""
        return blake2b(name.encode(), key=self.root, digest_size=digits // 2).hexdigest()
