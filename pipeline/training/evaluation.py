"""Evaluation of a model on unseen examples."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pipeline.decisioning.model_manifest import (
    ModelMetrics,
    PolicyEstimate,
    PolicyValue,
    Reference,
    shares,
)
from pipeline.insights.off_policy import Estimate, Log, evaluate
from pipeline.model.decision import Candidate
from pipeline.training.feature_choice import Labels, auc
from pipeline.training.fitting import Floats
from pipeline.training.replayed import DrawnDecision, DrawnSlot

_BINS: Final = 10
_NO_ESTIMATE: Final = PolicyEstimate(None, None, None)


def metrics(p: Floats, labels: Labels, base_rate: float) -> ModelMetrics:
    """Return the quality of `p`, compared with always predicting `base_rate`."""
    return ModelMetrics(
        examples=len(labels),
        positives=int(labels.sum()),
        log_loss=log_loss(p, labels),
        base_log_loss=log_loss(np.full(len(labels), np.clip(base_rate, 1e-6, 1 - 1e-6)), labels),
        auc=auc(p, labels),
        calibration_error=calibration_error(p, labels),
    )


def log_loss(p: Floats, labels: Labels) -> float:
    """Return the mean negative log-likelihood; `p` within (0, 1)."""
    return float(-np.log(np.where(labels, p, 1 - p)).mean())


def calibration_error(p: Floats, labels: Labels) -> float:
    """Return the mean distance of predicted and observed rate over bins of equal size."""
    order = np.argsort(p, kind="stable")
    bins = [part for part in np.array_split(order, _BINS) if len(part)]
    gaps = [abs(float(p[part].mean() - labels[part].mean())) * len(part) for part in bins]
    return sum(gaps) / len(labels)


def reference(p: Floats) -> Reference:
    """Return the predictions' deciles, and the shares between them."""
    edges = np.unique(np.quantile(p, np.linspace(0, 1, _BINS + 1)[1:-1]))
    return Reference(tuple(map(float, edges)), shares(p.tolist(), tuple(map(float, edges))))


def policy_value(drawn: Iterable[tuple[DrawnDecision, Floats]]) -> PolicyValue | None:
    """Return the value per drawn slot of choosing greedily by the model, and that of the policy
    that ran; None without any drawn slot.

    `drawn`: decisions with the probabilities of their rivals. The greedy policy takes the best
    (p × value − cost) × weight, and nothing where none is above 0; nothing is worth 0. Standard
    errors are clustered by customer.
    """
    columns = _SlotColumns()
    for decision, p in drawn:
        columns.add(decision, p)
    if not columns.rewards:
        return None
    rewards, weights = np.array(columns.rewards), np.array(columns.weights)
    q_logged, q_target = np.array(columns.q_logged), np.array(columns.q_target)
    _, customers = np.unique(columns.customers, return_inverse=True)
    estimates = evaluate(Log(rewards, weights, q_logged, q_target, customers))
    ran = evaluate(Log(rewards, np.ones(len(rewards)), customers=customers))
    return PolicyValue(
        n=estimates.n,
        ess=estimates.ess,
        ran=_estimate(ran.ips),
        ips=_estimate(estimates.ips),
        snips=_estimate(estimates.snips),
        dr=_estimate(estimates.dr),
    )


@dataclass(slots=True)
class _SlotColumns:
    """Columns of a log with a row for each drawn slot."""

    rewards: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    q_logged: list[float] = field(default_factory=list)
    q_target: list[float] = field(default_factory=list)
    customers: list[str] = field(default_factory=list)

    def add(self, decision: DrawnDecision, p: Floats) -> None:
        """Add a decision's slots."""
        rivals = decision.rivals
        worth = [
            float(chance) * rival.value - rival.cost
            for chance, rival in zip(p, rivals, strict=True)
        ]
        best = greedy_choices(rivals, worth)
        for slot in decision.slots:
            target = best.get(slot.slot)
            self.rewards.append(_reward(slot, rivals))
            self.weights.append((slot.chosen == target) / slot.propensity)
            self.q_logged.append(0.0 if slot.chosen is None else worth[slot.chosen])
            self.q_target.append(0.0 if target is None else worth[target])
            self.customers.append(decision.profile_id)


def greedy_choices(rivals: Sequence[Candidate], worth: Sequence[float]) -> dict[str, int]:
    """Return the place of each slot's winner among `rivals` if the best come first: of each
    placement one, outbound one of each campaign and channel."""
    chosen: dict[str, int] = {}
    sent: set[str] = set()
    scores = [net * rival.weight for net, rival in zip(worth, rivals, strict=True)]

    def order(place: int) -> tuple[float, str, str, str]:
        rival = rivals[place]
        return -scores[place], rival.campaign, rival.offer, rival.treatment

    for place in sorted((place for place, score in enumerate(scores) if score > 0), key=order):
        rival = rivals[place]
        slot, _, _ = rival.slot.partition("#")
        is_outbound = slot == rival.channel
        if slot in chosen or (is_outbound and rival.campaign in sent):
            continue
        chosen[slot] = place
        if is_outbound:
            sent.add(rival.campaign)
    return chosen


def _reward(slot: DrawnSlot, rivals: Sequence[Candidate]) -> float:
    """Return the worth of the choice; a message that expired cost nothing."""
    if slot.chosen is None or slot.expired:
        return 0.0
    rival = rivals[slot.chosen]
    return slot.reached * rival.value - rival.cost


def _estimate(estimate: Estimate | None) -> PolicyEstimate:
    return (
        _NO_ESTIMATE
        if estimate is None
        else PolicyEstimate(estimate.value, estimate.low, estimate.high)
    )
