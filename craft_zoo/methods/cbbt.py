"""CBBT: one context token by gradients that are estimated along many random directions."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from craft_zoo.craft import Step
from craft_zoo.losses import mean_losses
from craft_zoo.methods.batches import batch_options, training_batches
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import register_method
from craft_zoo.metrics import accuracy
from craft_zoo.optimizers.option import Option
from craft_zoo.seeding import generator
from craft_zoo.solution import Solution

_CROP = 0.5  # smallest share of an image's area in a view
_LR, _WARMUP_LR = 0.002, 1e-5  # of Adam, and in the first epoch
_WEIGHT_DECAY = 5e-4  # Dassl's default, which the authors' files leave as it is
_LONGEST = 5.0  # norm to which gradients are clipped
_SHORTEST_MOVE = 0.001

OPTIONS = (
    Option("directions", int, 256, "directions that a gradient is averaged over"),
    Option("lr", float, _LR, "learning rate of Adam after the first epoch"),
    *batch_options(32),
)


@register_method("cbbt", uses_optimizer=False, settings=(), own=OPTIONS, start="a", uses_torch=True)
def cbbt(problem: Problem) -> Iterator[Step]:
    """One context token by estimated gradients (CBBT, Guo et al. 2023), without its adapter.

    A query scores one context on one batch of at most 32 augmented training images. A step scores
    the present context and 256 others on the same batch; Adam follows the gradient that they give.
    The token begins as the word "a".
    """
    import torch

    own = problem.own_of("cbbt")
    problem.check_positive("cbbt.directions", "cbbt.batch")
    queries = 1 + own("directions")
    problem.check_budget(queries, "a step of cbbt", "cbbt.directions")
    context = torch.tensor(problem.initial_context)
    steps, n = problem.budget // queries, len(problem.labels)
    an_epoch = max(1, n // own("batch"))
    epochs = math.ceil(steps / an_epoch)
    adam = torch.optim.Adam([context], lr=own("lr"), weight_decay=_WEIGHT_DECAY)
    rng = generator(problem.seed, "cbbt")
    drawn = training_batches(problem, "cbbt", side=problem.vlm.image_size, crop=_CROP)
    search = problem.meter.wrap(problem.box, "search")
    yield Step(0, Solution(context.numpy().copy()))
    for number in range(steps):
        sources, labels = next(drawn)
        images = problem.vlm.images(sources, keep=False)
        moves = directions(own("directions"), tuple(context.shape), rng)
        candidates = np.concatenate([context.numpy()[None], context.numpy() + moves])
        losses: list[float] = []
        for logits in search.logits(candidates.astype(np.float32), images):
            if not losses:
                learnt = accuracy(logits, labels)
            losses.append(float(mean_losses(logits, labels)))
        context.grad = torch.from_numpy(clipped(gradient(moves, np.array(losses))))
        adam.param_groups[0]["lr"] = learning_rate(number // an_epoch, epochs, own("lr"))
        adam.step()
        yield Step(problem.meter.queries, Solution(context.numpy().copy()), losses[0], learnt)


def move_length(shape: tuple[int, ...]) -> float:
    """Distance of a candidate from the context: one divided by the number of its entries."""
    return max(1 / math.prod(shape), _SHORTEST_MOVE)


def directions(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """(count, n_ctx, dim) moves of the context, in random directions, of equal length."""
    drawn = rng.standard_normal((count, math.prod(shape)))
    drawn *= move_length(shape) / np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn.reshape(count, *shape)


def gradient(moves: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """(n_ctx, dim) the estimate (1 / e) · mean of u (L(w + e u) - L(w)) / e.

    Args:
        moves: e u, (q, n_ctx, dim).
        losses: (1 + q,), L(w) first.
    """
    length = move_length(moves.shape[1:])
    slopes = (losses[1:] - losses[0]) / length
    return np.tensordot(slopes, moves / length, axes=1) / len(moves) / length


def clipped(gradient: np.ndarray) -> np.ndarray:
    """A gradient, no longer than 5, as float32."""
    share = min(1.0, _LONGEST / (float(np.linalg.norm(gradient)) + 1e-6))
    return (share * gradient).astype(np.float32)


def learning_rate(epoch: int, epochs: int, lr: float) -> float:
    """The learning rate in epoch 0, 1, …: constant in the first, then a cosine from ``lr``."""
    if epoch == 0:
        return _WARMUP_LR
    return lr * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
