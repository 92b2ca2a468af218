"""The losses equal the paper's formulas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from craft_zoo.losses import collaborative_loss, consistency, cross_entropy


def example(
    seed: int = 0, n: int = 6, c: int = 5
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits, other = (10 * torch.randn(n, c, generator=generator) for _ in range(2))
    return logits, other, torch.randint(c, (n,), generator=generator)


@given(seed=st.integers(0, 10**6))
def test_consistency_is_torchs_batchmean_divergence(seed: int) -> None:
    a, b, _ = example(seed)
    released = F.kl_div(a.log_softmax(1), b.softmax(1), reduction="batchmean")
    assert torch.allclose(consistency(a, b), released, rtol=1e-4, atol=1e-5)
    assert consistency(a, b) >= -1e-6
    assert consistency(a, a).abs() < 1e-5


@given(seed=st.integers(0, 10**6))
def test_cross_entropy_is_torchs(seed: int) -> None:
    a, _, y = example(seed)
    assert torch.allclose(cross_entropy(a, y), F.cross_entropy(a, y), rtol=1e-5)


@given(seed=st.integers(0, 10**6), weight=st.floats(0, 2))
def test_leading_axes_are_losses_of_their_own(seed: int, weight: float) -> None:
    pairs = [example(seed + i) for i in range(3)]
    labels = pairs[0][2]
    logits, others = torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])
    together = collaborative_loss(logits, others, labels, weight)
    alone = [collaborative_loss(a, b, labels, weight) for a, b in zip(logits, others, strict=True)]
    assert together.shape == (3,)
    assert torch.allclose(together, torch.stack(alone), rtol=1e-4)


def test_the_weight_scales_the_consistency_term() -> None:
    a, b, y = example()
    expected = F.cross_entropy(a, y) + 0.3 * consistency(a, b)
    assert collaborative_loss(a, b, y, 0.3).item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.equal(collaborative_loss(a, b, y, 0.0), cross_entropy(a, y))


def test_no_gradient_flows_into_the_other_side() -> None:
    a, b, y = example()
    a.requires_grad_()
    b.requires_grad_()
    collaborative_loss(a, b, y, 1.0).backward()
    assert a.grad is not None
    assert b.grad is None
