"""The network refiner learns, reproducibly, and does not change global random state."""

from __future__ import annotations

import numpy as np
import torch

from craft_zoo.refiner.network import Refiner, RefinerTrainer


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are correct except for two classes that are exchanged."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    logits = 5 * torch.nn.functional.one_hot(labels[:, None] * 2 % 3, 3).squeeze(1).float()
    return logits + torch.randn(60, 3, generator=generator), labels


def trained(seed: int, consistency: float = 0.0, epochs: int = 60) -> Refiner:
    logits, labels = problem()
    refiner = Refiner(3, hidden=32, seed=seed)
    trainer = RefinerTrainer(refiner, lr=1e-2, batch_size=16, seed=seed)
    for _ in range(epochs):
        trainer.epoch(logits, labels, consistency)
    return refiner


def test_it_learns_to_undo_a_confusion() -> None:
    logits, labels = problem()
    before = (logits.argmax(1) == labels).float().mean()
    after = (trained(1)(logits).argmax(1) == labels).float().mean()
    assert before < 0.5
    assert after > 0.95


def test_consistency_keeps_it_near_the_logits() -> None:
    logits, _ = problem()
    free, held = (trained(1, weight)(logits) for weight in (0.0, 5.0))
    assert (held - logits).norm() < 0.7 * (free - logits).norm()


def test_the_seed_decides_everything() -> None:
    logits, _ = problem()
    state = torch.random.get_rng_state()
    one, same, other = (trained(seed, epochs=3)(logits) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_refine_is_forward_on_arrays() -> None:
    refiner = Refiner(3, hidden=32, seed=1)
    logits, _ = problem()
    refined = refiner.refine(logits.numpy())
    assert isinstance(refined, np.ndarray)
    assert np.array_equal(refined, refiner(logits).detach().numpy())
