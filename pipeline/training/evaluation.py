"""Evaluation of a model on unseen examples."""

from collections.abc import Sequence
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
from pipeline.training.feature_choice import Labels, auc
from pipeline.training.fitting import Floats
from pipeline.training.replayed import Example

_BINS: Final = 10
_LEAST_PROPENSITY: Final = 1e-9
"""Propensity below which no choice was drawn, even out of many items with a little exploration."""

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
    bins = [one for one in np.array_split(order, _BINS) if len(one)]
    gaps = [abs(float(p[one].mean() - labels[one].mean())) * len(one) for one in bins]
    return sum(gaps) / len(labels)


def reference(p: Floats) -> Reference:
    """Return the predictions' deciles, and the shares between them."""
    edges = np.unique(np.quantile(p, np.linspace(0, 1, _BINS + 1)[1:-1]))
    return Reference(tuple(map(float, edges)), shares(p.tolist(), tuple(map(float, edges))))


def policy_value(every: Sequence[Example], of_every: Sequence[Floats]) -> PolicyValue | None:
    """Return the value of choosing greedily by the model, and that of the policy that ran; None
    without any logged propensity.

    `of_every`: for each example the probabilities of its rivals, in their order. The greedy policy
    takes the best (p × value − cost) × weight. Standard errors are clustered by customer.
    """
    pairs = zip(every, of_every, strict=True)
    drawn = [(one, p) for one, p in pairs if _LEAST_PROPENSITY <= one.propensity <= 1]
    if not drawn:
        return None
    examples, ps = [one for one, _ in drawn], [p for _, p in drawn]
    rewards, logged, target, q_logged, q_target = (np.zeros(len(examples)) for _ in range(5))
    for row, (one, p) in enumerate(zip(examples, ps, strict=True)):
        rivals = zip(map(float, p), one.rivals, strict=True)
        worth = [chance * rival.value - rival.cost for chance, rival in rivals]
        scores = [net * rival.weight for net, rival in zip(worth, one.rivals, strict=True)]
        best, mine = int(np.argmax(scores)), one.rivals.index(one.chosen)
        rewards[row] = one.reached * one.chosen.value - one.chosen.cost
        logged[row], target[row] = one.propensity, float(best == mine)
        q_logged[row], q_target[row] = worth[mine], worth[best]
    _, customers = np.unique([one.profile_id for one in examples], return_inverse=True)
    found = evaluate(Log(rewards, target / logged, q_logged, q_target, customers))
    ran = evaluate(Log(rewards, np.ones(len(examples)), customers=customers))
    return PolicyValue(
        n=found.n,
        ess=found.ess,
        ran=_estimate(ran.ips),
        ips=_estimate(found.ips),
        snips=_estimate(found.snips),
        dr=_estimate(found.dr),
    )


def _estimate(found: Estimate | None) -> PolicyEstimate:
    return _NO_ESTIMATE if found is None else PolicyEstimate(found.value, found.low, found.high)
