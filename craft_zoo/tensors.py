"""Tensors of losses and fits: PyTorch's where it is installed, else NumPy's arrays.

Both have the same operators, which the callers use; this module holds what differs. Results are the
same up to rounding, so a choice between two nearly equal settings may differ.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

try:
    import torch
except ModuleNotFoundError:
    torch = None  # type: ignore[assignment]

Tensor = Any
"""A ``torch.Tensor``, or a ``np.ndarray`` without PyTorch."""


def tensor(array: np.ndarray) -> Tensor:
    """The array as a tensor, which shares its memory."""
    return array if torch is None else torch.from_numpy(array)


def svd(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, R), (R,) and (R, K): the singular value decomposition of (N, K), R = min(N, K)."""
    return (np if torch is None else torch).linalg.svd(x, full_matrices=False)


def tensordot(one: Tensor, other: Tensor, axes: int) -> Tensor:
    """Sum of products over the last ``axes`` axes of one and the first of the other."""
    return (np if torch is None else torch).tensordot(one, other, axes)


def log_softmax(logits: Tensor) -> Tensor:
    """Logarithms of the probabilities, over the last axis."""
    if torch is not None:
        return logits.log_softmax(-1)
    lower = logits - logits.max(axis=-1, keepdims=True)
    return lower - np.log(np.exp(lower).sum(axis=-1, keepdims=True))


def picked(values: Tensor, labels: Tensor) -> Tensor:
    """(..., N) of each row of (..., N, C) the value in the column of its label, (N,) int64."""
    if torch is not None:
        columns = labels.expand(values.shape[:-1]).unsqueeze(-1)
        return values.gather(-1, columns).squeeze(-1)
    columns = np.broadcast_to(labels, values.shape[:-1])[..., None]
    return np.take_along_axis(values, columns, -1)[..., 0]


def negative_log_likelihood(
    logs: Tensor, labels: Tensor, reduction: Literal["mean", "sum"]
) -> float:
    """Mean or sum over N images of minus the log-probability (N, C) of the label, (N,) int64."""
    if torch is not None:
        return float(torch.nn.functional.nll_loss(logs, labels, reduction=reduction))
    return -float(getattr(picked(logs, labels), reduction)())
