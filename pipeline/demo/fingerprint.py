"""A hash over what was decided: equal inputs must give equal decisions, run after run."""

import hashlib
from collections.abc import Iterable

import msgspec

from pipeline.model.decision import Decision


def fingerprint(decisions: Iterable[Decision]) -> str:
    """SHA-256 (hexadecimal) over event, profile, choices and fallen candidates, in no order.

    The configuration's digest is left out: it holds addresses that differ between machines.
    """
    lines = {_encode(one) for one in decisions}
    return hashlib.sha256(b"\n".join(sorted(lines))).hexdigest()


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
