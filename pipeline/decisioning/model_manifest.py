"""Manifest of a trained model: its features, training data and quality."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct

from pipeline.config.catalogs import ITEM_SEPARATOR
from pipeline.decisioning.features import ModelFeature


class Calibration(Struct, frozen=True, forbid_unknown_fields=True):
    """Calibrated probabilities `p` of raw predictions `raw`, both ascending; linear in between."""

    raw: tuple[float, ...]
    p: tuple[float, ...]


class TrainingData(Struct, frozen=True, forbid_unknown_fields=True):
    """Examples from [`since`, `until`) (epoch ms), of which `positives` reached the goal.

    `cut` (epoch ms) divides training from test.
    """

    since: int
    until: int
    cut: int
    examples: int
    positives: int
    customers: int


class PolicyEstimate(Struct, frozen=True, forbid_unknown_fields=True):
    """Value per drawn slot, with its 95 % interval; None where the log does not support it."""

    value: float | None
    low: float | None
    high: float | None


class PolicyValue(Struct, frozen=True, forbid_unknown_fields=True):
    """Value per slot of the policy that ran and of the greedy one by the model, from `n` slots of
    the test whose choice was drawn, worth `ess` under the greedy policy.

    A message is worth its value if the goal was reached, less its cost; nothing is worth 0.
    """

    n: int
    ess: float
    ran: PolicyEstimate
    ips: PolicyEstimate
    snips: PolicyEstimate
    dr: PolicyEstimate


class ModelMetrics(Struct, frozen=True, forbid_unknown_fields=True):
    """Quality on unseen `examples`: later ones, of other customers.

    `calibration_error`: mean distance of predicted and observed rate over ten bins. `base_log_loss`
    is that of predicting the training set's rate. `auc` is None where all have the same label.
    """

    examples: int
    positives: int
    log_loss: float
    base_log_loss: float
    auc: float | None
    calibration_error: float
    policy: PolicyValue | None = None


class Reference(Struct, frozen=True, forbid_unknown_fields=True):
    """Shares of predictions between `edges` (ascending) on the test set, for drift."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]


def shares(p: Sequence[float], edges: Sequence[float]) -> tuple[float, ...]:
    """Return the share of `p` in each bin between `edges`; an edge belongs to the bin above it."""
    counts = [0] * (len(edges) + 1)
    for prediction in p:
        counts[bisect_right(edges, prediction)] += 1
    return tuple(count / max(len(p), 1) for count in counts)


class ModelManifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Manifest beside `model.txt`, whose SHA-256 is `digest`.

    `goal`: the predicted outcome, or the score's condition as JSON, within `window_ms`.
    `treatments`: those in the training data, each as campaign, offer, treatment, without an offer
    for all items of a catalogue; the model predicts no others.
    """

    name: str
    version: int
    kind: Literal["propensity", "score"]
    digest: str
    features: tuple[ModelFeature, ...]
    treatments: tuple[tuple[str, str, str], ...]
    calibration: Calibration | None
    goal: str
    window_ms: int
    data: TrainingData
    metrics: ModelMetrics
    reference: Reference
    trained_at: int

    @property
    def label(self) -> str:
        """Name and version as a Decision names them."""
        return f"{self.name}@{self.version}"


def template_of(campaign: str, treatment: str) -> tuple[str, str, str] | None:
    """Return the name of a treatment for all items of its catalogue; None: it has no catalogue."""
    template, separator, _ = treatment.partition(ITEM_SEPARATOR)
    return (campaign, "", template) if separator else None


_decode: Final = msgspec.json.Decoder(ModelManifest).decode


def manifest_from(data: bytes) -> ModelManifest | str:
    """Return the manifest, or the error in `data`."""
    try:
        return _decode(data)
    except msgspec.MsgspecError as error:
        return f"not a model's manifest: {error}"


def manifest_bytes(manifest: ModelManifest) -> bytes:
    """Return the content of the manifest's file."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
