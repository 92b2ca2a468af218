"""Fits and losses by NumPy, where PyTorch is missing, are those by PyTorch up to rounding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from craft_zoo import tensors
from craft_zoo.craft.held_out import HeldOut
from craft_zoo.craft.objective import CrossEntropyObjective
from craft_zoo.losses import cross_entropy
from craft_zoo.refiner import choose_sum, fit
from craft_zoo.refiner.selection import sum_weights
from craft_zoo.tensors import tensor

RNG = np.random.default_rng(0)
LABELS = np.arange(40) % 4
LOGITS = (RNG.standard_normal((40, 4)) + 2 * np.eye(4)[LABELS]).astype(np.float32)


def fitted() -> np.ndarray:
    refiner = fit(LOGITS, LABELS, regularization=choose_sum(LOGITS, LABELS))
    return np.concatenate([refiner.weight, refiner.bias[None]])


def weighed() -> np.ndarray:
    return sum_weights(np.stack([LOGITS, LOGITS[::-1]]), LABELS, [0.5, 0.5])


def losses() -> np.ndarray:
    return np.asarray(cross_entropy(tensor(np.stack([LOGITS, 9 * LOGITS])), tensor(LABELS)))


def of_outputs() -> np.ndarray:
    value, slope = CrossEntropyObjective(LABELS).output_loss(np.arange(40))(LOGITS)
    return np.append(slope, value)


def held_out() -> np.ndarray:
    labels = np.tile(LABELS, 3)
    judge = HeldOut(tensor(labels), patience=100)
    judge.observe(tensor(np.tile(LOGITS, (3, 1))), 0)
    judge.observe(tensor(np.tile(2 * LOGITS[::-1], (3, 1))), 1)
    assert judge.worse
    return np.asarray(judge._first)


@pytest.mark.parametrize("compute", [fitted, weighed, losses, of_outputs, held_out])
def test_numpy_computes_what_pytorch_does(
    compute: Callable[[], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = compute()
    monkeypatch.setattr(tensors, "torch", None)
    np.testing.assert_allclose(compute(), expected, rtol=1e-4, atol=1e-5)


def test_a_logit_beyond_the_range_of_exp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "torch", None)
    found = tensors.log_softmax(np.array([[1000.0, 0.0]], np.float32))
    np.testing.assert_array_equal(found, [[0.0, -1000.0]])
