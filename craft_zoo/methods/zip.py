"""ZIP: a low-rank soft prompt by clipped two-point estimates, each on a batch of images."""

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
from craft_zoo.optimizers import Space
from craft_zoo.optimizers.option import Option
from craft_zoo.optimizers.zip_spsa import ZipSPSA
from craft_zoo.prompts.space import PromptSpace
from craft_zoo.seeding import derived_seed, generator
from craft_zoo.solution import Solution

TOKENS, DIM, RANK = 8, 500, 5
_STD = 0.02  # of the initial context's entries


class LowRankTokens(PromptSpace):
    """Contexts whose tokens move in subspaces of their own, by a matrix of low rank.

    The parameters are U (n, r), s (r,), V (k, r) and a row v (k,) that all n tokens share. Row i of
    ``U diag(s) Vᵀ + v`` has the k coordinates of token i, and :class:`Fastfood` turns them into
    dim numbers, which are added to the token. 8 tokens with 500 coordinates together and rank 5
    have 417 parameters. A candidate is the change of the parameters from their start: U = 0,
    s = 1, V standard normal, v = 0, which leaves the initial context unchanged.

    Args:
        shape: (n, dim), numbers of tokens and of the entries of each.
        seed: seed of the initial context, of V and of the projections.
        dim: coordinates of all tokens together; k is its n-th part.
        rank: r.
    """

    def __init__(
        self, shape: tuple[int, int], seed: int, *, dim: int = DIM, rank: int = RANK
    ) -> None:
        rng = generator(seed, "zip")
        tokens, width = shape
        k = min(dim // tokens, width)
        self.start = (_STD * rng.standard_normal(shape)).astype(np.float32)
        self._projections = [Fastfood(width, rng) for _ in range(tokens)]
        self._ends = np.cumsum([tokens * rank, rank, k * rank])
        self._shapes = (tokens, rank), (rank,), (k, rank), (k,)
        self.initial = np.concatenate(
            [
                np.zeros(tokens * rank),
                np.ones(rank),
                rng.standard_normal(k * rank),
                np.zeros(k),
            ]
        )
        self.variables = Space(len(self.initial))

    def prompts(self, candidates: np.ndarray) -> np.ndarray:
        """(P, d) candidates → (P, n, dim) float32 contexts."""
        return np.stack([self._context(each) for each in self.initial + candidates])

    def _context(self, parameters: np.ndarray) -> np.ndarray:
        parts = np.split(parameters, self._ends)
        u, s, v, shared = (part.reshape(to) for part, to in zip(parts, self._shapes, strict=True))
        rows = (u * s) @ v.T + shared
        moves = [project(row) for project, row in zip(self._projections, rows, strict=True)]
        return (self.start + np.stack(moves)).astype(np.float32)


class Fastfood:
    """A random linear map from few numbers to ``width``, by Walsh-Hadamard transforms (Le 2013).

    ``H G Π H B x``, padded to a power of two L, with random signs B, a permutation Π and a normal
    diagonal G, divided by ``sqrt(L Σ G²) sqrt(width / L)``, as in Aghajanyan et al. (2020).

    Args:
        width: length of the result.
        rng: source of the random numbers.
    """

    def __init__(self, width: int, rng: np.random.Generator) -> None:
        self._width = width
        self._padded = 2 ** math.ceil(math.log2(width))
        self._signs = rng.choice([-1.0, 1.0], self._padded)
        self._order = rng.permutation(self._padded)
        self._gauss = rng.standard_normal(self._padded)
        divisor = math.sqrt(self._padded * float(np.square(self._gauss).sum()))
        self._divisor = divisor * math.sqrt(width / self._padded)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(k,) → (width,), k ≤ width."""
        padded = np.zeros(self._padded)
        padded[: len(x)] = x
        mixed = hadamard(self._signs * padded)[self._order]
        return hadamard(self._gauss * mixed)[: self._width] / self._divisor


def hadamard(x: np.ndarray) -> np.ndarray:
    """The Walsh-Hadamard transform of (L,), not normalised; L is a power of two."""
    half = 1
    while half < len(x):
        pairs = x.reshape(-1, 2, half)
        x = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
        half *= 2
    return x


OPTIONS = (
    Option("pairs", int, 5, "pairs of candidates that a gradient is averaged over"),
    Option("a", float, 0.01, "gain of the steps"),
    Option("c", float, 0.01, "distance of the candidates"),
    *batch_options(128),
)


@register_method(
    "zip", uses_optimizer=False, settings=(), own=OPTIONS, start=" ".join(["X"] * TOKENS)
)
def zip_(problem: Problem) -> Iterator[Step]:
    """Low-rank soft prompt, clipped two-point estimates on batches (ZIP, Park et al. 2025).

    A query scores one context on one batch, as its authors count. The ten candidates of a step
    share a batch: 128 augmented training images at most, of a new order each epoch; where there are
    128 or more, what is left of an epoch is dropped. The context begins with random tokens.
    """
    own = problem.own_of("zip")
    problem.check_positive("zip.batch")
    tokens, width = problem.initial_context.shape
    space = LowRankTokens((tokens, width), problem.seed)
    optimizer = ZipSPSA(
        space.variables,
        pairs=own("pairs"),
        a=own("a"),
        c=own("c"),
        budget=problem.budget,
        seed=derived_seed(problem.seed, "optimizer"),
    )
    yield Step(0, Solution(space.start))
    meter = problem.meter
    search = meter.wrap(problem.box, "search")
    drawn = training_batches(problem, "zip", side=problem.vlm.image_size)
    while meter.remaining and not optimizer.stop:
        sources, labels = next(drawn)
        images = problem.vlm.images(sources, keep=False)
        candidates = optimizer.ask()[: meter.remaining]
        logits = np.stack(list(search.logits(space.prompts(candidates), images)))
        losses = mean_losses(logits, labels)
        optimizer.tell(candidates, losses)
        best = int(np.argmin(losses))
        yield Step(
            meter.queries,
            Solution(space.prompts(optimizer.recommend()[None])[0]),
            float(losses[best]),
            accuracy(logits[best], labels),
        )
