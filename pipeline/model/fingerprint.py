"""Hash over decisions: equal inputs must give equal decisions, run after run."""

import hashlib
from collections.abc import Iterable

import msgspec

from pipeline.model.decision import Decision


class Fingerprint:
    """SHA-256 over event, profile, time, choices, candidates and rejections of decisions, in any
    order.

    A decision that is added twice counts once. The configuration's digest is left out: it holds
    addresses that differ between machines.
    """

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, decision: Decision) -> None:
        """Add a decision; it takes 32 bytes of memory."""
        self._digests.add(hashlib.sha256(_encode(decision)).digest())

    def hexdigest(self) -> str:
        """Return the hash of all decisions so far."""
        return hashlib.sha256(b"".join(sorted(self._digests))).hexdigest()


def fingerprint(decisions: Iterable[Decision]) -> str:
    """Return the hash of `decisions`."""
    result = Fingerprint()
    for decision in decisions:
        result.add(decision)
    return result.hexdigest()


def _encode(decision: Decision) -> bytes:
    parts = (
        decision.event_id,
        decision.profile_id,
        decision.decided_at,
        decision.choices,
        decision.candidates,
        decision.rejected,
    )
    return msgspec.json.encode(parts, order="sorted")
