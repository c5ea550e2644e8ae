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
from pipeline.training.replayed_data import DrawnDecision, DrawnSlot

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


def policy_value(decisions: Iterable[tuple[DrawnDecision, Floats]]) -> PolicyValue | None:
    """Return the value per drawn slot of choosing greedily by the model, and that of the policy
    that ran; None without any drawn slot.

    `decisions`: decisions with the probabilities of their rivals. The greedy policy takes the best
    (p × value − cost) × weight, and nothing where none exceeds 0; nothing is worth 0. Standard
    errors are clustered by customer.
    """
    columns = _SlotColumns()
    for decision, p in decisions:
        columns.add(decision, p)
    if not columns.rewards:
        return None
    rewards, weights = np.array(columns.rewards), np.array(columns.weights)
    logged_q, target_q = np.array(columns.logged_q), np.array(columns.target_q)
    _, customers = np.unique(columns.customers, return_inverse=True)
    estimates = evaluate(Log(rewards, weights, logged_q, target_q, customers))
    logged_policy = evaluate(Log(rewards, np.ones(len(rewards)), customers=customers))
    return PolicyValue(
        n=estimates.n,
        ess=estimates.ess,
        ran=_estimate(logged_policy.ips),
        ips=_estimate(estimates.ips),
        snips=_estimate(estimates.snips),
        dr=_estimate(estimates.dr),
    )


@dataclass(slots=True)
class _SlotColumns:
    """Columns of a log with a row for each drawn slot."""

    rewards: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    logged_q: list[float] = field(default_factory=list)
    target_q: list[float] = field(default_factory=list)
    customers: list[str] = field(default_factory=list)

    def add(self, decision: DrawnDecision, p: Floats) -> None:
        """Add a decision's slots."""
        rivals = decision.rivals
        worth = [
            float(chance) * rival.value - rival.cost
            for chance, rival in zip(p, rivals, strict=True)
        ]
        winners = greedy_choices(rivals, worth)
        for slot in decision.slots:
            target = winners.get(slot.slot)
            self.rewards.append(_reward(slot, rivals))
            self.weights.append((slot.choice == target) / slot.propensity)
            self.logged_q.append(0.0 if slot.choice is None else worth[slot.choice])
            self.target_q.append(0.0 if target is None else worth[target])
            self.customers.append(decision.profile_id)


def greedy_choices(rivals: Sequence[Candidate], worth: Sequence[float]) -> dict[str, int]:
    """Return the index in `rivals` of each slot's winner, chosen in the order of score: one for
    each placement; outbound, at most one for a channel and at most one for a campaign."""
    winners: dict[str, int] = {}
    campaigns: set[str] = set()
    scores = [net * rival.weight for net, rival in zip(worth, rivals, strict=True)]

    def sort_key(index: int) -> tuple[float, str, str, str]:
        rival = rivals[index]
        return -scores[index], rival.campaign, rival.offer, rival.treatment

    for index in sorted((index for index, score in enumerate(scores) if score > 0), key=sort_key):
        rival = rivals[index]
        slot, _, _ = rival.slot.partition("#")
        is_outbound = slot == rival.channel
        if slot in winners or (is_outbound and rival.campaign in campaigns):
            continue
        winners[slot] = index
        if is_outbound:
            campaigns.add(rival.campaign)
    return winners


def _reward(slot: DrawnSlot, rivals: Sequence[Candidate]) -> float:
    """Return the worth of the choice; a message that expired cost nothing."""
    if slot.choice is None or slot.expired:
        return 0.0
    rival = rivals[slot.choice]
    return slot.reached * rival.value - rival.cost


def _estimate(estimate: Estimate | None) -> PolicyEstimate:
    return (
        _NO_ESTIMATE
        if estimate is None
        else PolicyEstimate(estimate.value, estimate.low, estimate.high)
    )
