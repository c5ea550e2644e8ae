"""Learned evidence used in decisions: posteriors of treatments, and promoted models."""

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct, field

SNAPSHOT: Final = "snapshot"
"""Key of the newest snapshot of posteriors; any other key is a model's name."""


class Posterior(Struct, frozen=True):
    """Evidence about a treatment in a context bin; "" is the bin of all that fits no other.

    `trials` and `successes` have faded to the snapshot's `as_of`: evidence of one half-life ago
    weighs half. `tried` and `reached` count the same evidence, each one as 1.
    """

    campaign: str
    offer: str
    treatment: str
    bin: str
    trials: float
    successes: float
    tried: int
    reached: int


class ModelVersion(Struct, frozen=True):
    """Version of a model that is in force; the record's digest is that of the model's text.

    `features`: names in the order of training; `manifest`: digest of the manifest of its training,
    None: there is none.
    """

    name: str
    version: int
    features: tuple[str, ...]
    promoted_by: str
    manifest: str | None = None


class LearningRecord(Struct, frozen=True):
    """Value of `learning`: either a snapshot of all posteriors, or the version of a model.

    `number` grows by one with each record of a key; `digest` (SHA-256, hex) is that of the content,
    equal for equal content. Times are epoch ms. `as_of`: the latest evidence; `offsets`:
    partition of `decisions` -> offset up to which (exclusive) the record has the evidence.
    """

    number: int
    digest: str
    published_at: int
    as_of: int = 0
    posteriors: tuple[Posterior, ...] = ()
    offsets: dict[str, int] = field(default_factory=dict)
    model: ModelVersion | None = None


def digest_of(posteriors: Iterable[Posterior]) -> str:
    """Return the SHA-256 (hex) of posteriors."""
    return hashlib.sha256(msgspec.json.encode(tuple(posteriors))).hexdigest()
