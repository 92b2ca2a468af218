"""The two losses of CraFT; equations as in Wang et al., ICML 2024, and the authors' code."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def consistency(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of KL(softmax(target) ‖ softmax(logits)).

    Args:
        logits: (..., N, C).
        target: (..., N, C), the prediction to be consistent with.

    Returns:
        (...), one value for each leading index.
    """
    pointwise = F.kl_div(
        logits.log_softmax(-1), target.log_softmax(-1), reduction="none", log_target=True
    )
    return pointwise.sum(-1).mean(-1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the batch, (..., N, C) logits and (N,) labels → (...)."""
    picked = logits.log_softmax(-1).gather(-1, labels.expand(logits.shape[:-1]).unsqueeze(-1))
    return -picked.squeeze(-1).mean(-1)


def collaborative_loss(logits: Tensor, other: Tensor, labels: Tensor, weight: float) -> Tensor:
    """CE(logits, y) + w · KL(logits ‖ other): the prediction-consistent loss of either side.

    The prompt side gives the black box's logits with the refined ones as ``other``; the refiner's
    side gives them the other way round.

    Args:
        logits: (..., N, C), what is being learned.
        other: (..., N, C), the other side's prediction; no gradient flows into it.
        labels: (N,) int64.
        weight: w; 0 leaves plain cross-entropy.

    Returns:
        (...), one value for each leading index (a candidate, say).
    """
    loss = cross_entropy(logits, labels)
    return loss + weight * consistency(logits, other.detach()) if weight else loss
