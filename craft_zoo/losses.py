"""The two losses of CraFT (Wang et al., ICML 2024), as in the paper and the authors' code.

There is another one for scales that are fitted to few images. Consistency alone needs PyTorch, see
:mod:`craft_zoo.tensors`.
"""

from __future__ import annotations

import numpy as np

from craft_zoo.tensors import Tensor, log_softmax, picked, tensor


def consistency(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of KL(softmax(target) ‖ softmax(logits)).

    Args:
        logits: (..., N, C).
        target: (..., N, C), logits of the reference prediction.

    Returns:
        (...), one value for each leading index.
    """
    from torch.nn import functional as F

    pointwise = F.kl_div(
        logits.log_softmax(-1), target.log_softmax(-1), reduction="none", log_target=True
    )
    return pointwise.sum(-1).mean(-1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the batch: (..., N, C) logits and (N,) labels → (...)."""
    return -picked(log_softmax(logits), labels).mean(-1)


def mean_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """As :func:`cross_entropy`, of arrays."""
    return np.asarray(cross_entropy(tensor(logits), tensor(labels)))


def collaborative_loss(logits: Tensor, other: Tensor, labels: Tensor, weight: float) -> Tensor:
    """Prediction-consistent loss: CE(logits, y) + w · KL(softmax(other) ‖ softmax(logits)).

    The prompt's loss has the black box's logits as ``logits`` and the refined ones as ``other``;
    the refiner's loss has them exchanged.

    Args:
        logits: (..., N, C), logits to be trained.
        other: (..., N, C), reference logits; they receive no gradient.
        labels: (N,) int64.
        weight: w; 0 gives plain cross-entropy.

    Returns:
        (...), one value for each leading index (for instance a candidate).
    """
    loss = cross_entropy(logits, labels)
    return loss + weight * consistency(logits, other.detach()) if weight else loss


def certainty_loss(logs: Tensor | np.ndarray) -> float:
    """Loss of an image more, of unknown class, that counts 2 / C; added where a scale is fitted.

    It bounds the scale of logits whose images are all classified correctly, as a few images of two
    or three classes often are. Their cross-entropy alone is least if the logits are infinite.

    Args:
        logs: (N, C) log-probabilities of the images, which stand for that of the one more.
    """
    return -2 / logs.shape[1] * float(logs.mean())
