"""SharpZO: CMA-ES on candidates moved uphill, then descent by two-point estimates."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Literal

import numpy as np

from craft_zoo import optimizers
from craft_zoo.blackbox.base import ImageSet
from craft_zoo.craft import Step
from craft_zoo.data.augment import resized_crops
from craft_zoo.errors import CraftZooError
from craft_zoo.losses import mean_losses
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import register_method
from craft_zoo.methods.released import COMMON, TABLE
from craft_zoo.metrics import accuracy
from craft_zoo.optimizers.option import Option
from craft_zoo.prompts import Subspace
from craft_zoo.seeding import derived_seed, generator
from craft_zoo.solution import Solution

_CROP = 0.5  # smallest share of an image's area in a view
_NONE = float("inf"), float("nan")  # loss and accuracy before any point is scored
_REPORTED = 100  # steps of the descent between two reports, as the authors' code evaluates

Mask = Literal["highest", "lowest", "none"]
Losses = Callable[[np.ndarray], np.ndarray]
"""(P, d) points → (P,) losses."""

OPTIONS = (
    Option("dim", int, 512, "coordinates that are searched"),
    Option("popsize", int, 40, "candidates of a generation of CMA-ES"),
    Option("sigma", float, 0.4, "initial step size of CMA-ES"),
    Option("rho", float, 0.1, "how far candidates are moved uphill, times the root of popsize"),
    Option("generations", int, 100, "generations of CMA-ES before the descent"),
    Option("distance", float, 1e-3, "of the points that a slope is estimated from"),
    Option("lr", float, 1e-3, "learning rate of the descent"),
    Option("mask", Mask, "highest", "scores of the coordinates that move; none: all move"),
    Option("ratio", float, 0.1, "share of the coordinates whose scores are the lowest"),
    Option("interval", int, 200, "steps between two gradients from which scores are computed"),
    Option("estimate", Literal["fresh", "summed"], "fresh", "a step's own estimate, or all so far"),
)


@register_method("sharpzo", uses_optimizer=False, settings=(), own=OPTIONS)
def sharpzo(problem: Problem) -> Iterator[Step]:
    """CMA-ES with a sharpness term, then sparse two-point descent (SharpZO, Yang et al. 2025).

    A generation of CMA-ES takes 2 · dim queries for a gradient, coordinate by coordinate, and
    popsize for its candidates, which are scored where that gradient leads them uphill. The descent
    takes 2 queries a step, and the gradient again every ``interval`` steps. All are scored on one
    augmented view of the training images. Standard deviations and bounds are those of CraFT.
    """
    own = problem.own_of("sharpzo")
    dim, popsize = own("dim"), own("popsize")
    problem.check_positive("sharpzo.dim", "sharpzo.popsize", "sharpzo.interval")
    if not 0 <= own("ratio") <= 1:
        raise CraftZooError(f"setting sharpzo.ratio must be in [0, 1], not {own('ratio')}")
    problem.check_budget(2 * dim + popsize, "a generation of sharpzo", "sharpzo.dim")
    settings = TABLE.get(problem.name, COMMON)
    space = Subspace(problem.initial_context, dim, std=settings.std, seed=problem.seed)
    views = resized_crops(
        problem.images.sources,
        generator(problem.seed, "sharpzo view"),
        problem.vlm.image_size,
        _CROP,
    )
    images = problem.vlm.images(views, keep=False)
    scorer = _Scorer(problem, space, images)
    rng = generator(problem.seed, "sharpzo")
    start = rng.uniform(size=(popsize, dim)).mean(axis=0)
    point, gradient = yield from _evolve(problem, space, scorer, start)
    descent = Descent(
        point,
        gradient,
        rng,
        distance=own("distance"),
        lr=own("lr"),
        copies=popsize if own("estimate") == "summed" else None,
    )
    yield from _descend(problem, descent, scorer)


class _Scorer:
    """Scores points of the search space, and keeps the best since the last report.

    Args:
        problem: the problem.
        space: makes contexts of points.
        images: the views of the training images that are scored.
    """

    def __init__(self, problem: Problem, space: Subspace, images: ImageSet) -> None:
        self._problem, self._space, self._images = problem, space, images
        self._box = problem.meter.wrap(problem.box, "search")
        self._best = _NONE

    def losses(self, points: np.ndarray) -> np.ndarray:
        """(P,) losses of points (P, d)."""
        found, labels = [], self._problem.labels
        for logits in self._box.logits(self._space.prompts(points), self._images):
            found.append(float(mean_losses(logits, labels)))
            if found[-1] < self._best[0]:
                self._best = found[-1], accuracy(logits, labels)
        return np.array(found)

    def step(self, point: np.ndarray) -> Step:
        """A report of a point (d,), with the best loss since the last one."""
        (loss, learnt), self._best = self._best, _NONE
        solution = Solution(self._space.prompts(point[None])[0])
        return Step(self._problem.meter.queries, solution, loss, learnt)


def _evolve(
    problem: Problem, space: Subspace, scorer: _Scorer, point: np.ndarray
) -> Generator[Step, None, tuple[np.ndarray, np.ndarray]]:
    """The generations of CMA-ES.

    Returns:
        The point (d,) that it recommends, and the gradient (d,) before its last generation.
    """
    own, meter = problem.own_of("sharpzo"), problem.meter
    popsize, dim = own("popsize"), own("dim")
    bound = TABLE.get(problem.name, COMMON).bound
    bounded = "" if bound is None else f",bound={bound}"
    cma = optimizers.create(
        f"cma:popsize={popsize},sigma={own('sigma')}{bounded},step=csa,recommends=samples",
        space.variables,
        budget=popsize * max(1, own("generations")),
        seed=derived_seed(problem.seed, "optimizer"),
    )
    gradient = np.zeros(dim)
    for _ in range(own("generations")):
        if cma.stop or meter.remaining < 2 * dim + popsize:
            break
        gradient = coordinatewise(scorer.losses, point, own("distance"))
        candidates = cma.ask()
        moved = candidates + uphill(gradient, own("rho"), popsize)
        cma.tell(candidates, scorer.losses(moved))
        point = cma.recommend()
        yield scorer.step(point)
    return point, gradient


def _descend(problem: Problem, descent: Descent, scorer: _Scorer) -> Iterator[Step]:
    """The steps of the descent, of which every hundredth and the last are reported."""
    own, meter, made = problem.own_of("sharpzo"), problem.meter, 0
    while meter.remaining >= 2:
        if own("mask") != "none" and made % own("interval") == 0:
            if meter.remaining < 2 * len(descent.point) + 2:
                break
            gradient = coordinatewise(scorer.losses, descent.point, own("distance"))
            moving = movable(descent.point, gradient, own("ratio"), own("mask"))
            descent.restrict(moving, gradient)
        descent.step(scorer.losses)
        made += 1
        if made % _REPORTED == 0:
            yield scorer.step(descent.point)
    if made % _REPORTED:
        yield scorer.step(descent.point)


def coordinatewise(losses: Losses, point: np.ndarray, distance: float) -> np.ndarray:
    """(d,) central differences of the loss at a point, from 2 d queries."""
    moves = distance * np.eye(len(point))
    pairs = np.stack([point + moves, point - moves], axis=1).reshape(-1, len(point))
    both = losses(pairs).reshape(-1, 2)
    return (both[:, 0] - both[:, 1]) / (2 * distance)


def uphill(gradient: np.ndarray, rho: float, copies: int) -> np.ndarray:
    """(d,) the move of all candidates, of length ``rho / sqrt(copies)``.

    The authors' code holds the gradient once for each candidate of a generation and divides by the
    norm of all of these.
    """
    return rho * gradient / (np.sqrt(copies) * np.linalg.norm(gradient) + 1e-12)


def movable(point: np.ndarray, gradient: np.ndarray, ratio: float, mask: Mask) -> np.ndarray:
    """(d,) bool, the coordinates that the descent moves.

    Their scores are the square of the coordinate times the standardised size of its slope. The
    lowest are ``ratio`` of all; ``highest`` are the others.
    """
    size = np.abs(gradient)
    scores = point**2 * (size - size.mean()) / (size.std() + 1e-8)
    lowest = np.zeros(len(point), dtype=bool)
    lowest[np.argsort(scores, kind="stable")[: int(len(point) * ratio)]] = True
    return lowest if mask == "lowest" else ~lowest


class Descent:
    """Descent by two-point estimates along random normal directions.

    Args:
        point: (d,) where it starts.
        gradient: (d,) there, with which the sum of the estimates begins.
        rng: source of the directions.
        distance: of the two points from the present one, for a direction of length 1.
        lr: learning rate.
        copies: a step follows the sum of all estimates, as in the authors' code, which never
            empties it. After the first step that code has this number of copies of the point, each
            with a direction of its own, whose mean is scored; the mean direction is shorter by
            ``sqrt(copies)``. None: a step follows its own estimate.
    """

    def __init__(
        self,
        point: np.ndarray,
        gradient: np.ndarray,
        rng: np.random.Generator,
        *,
        distance: float,
        lr: float,
        copies: int | None = None,
    ) -> None:
        self.point, self._sum, self._rng = point, gradient, rng
        self._distance, self._lr, self._copies = distance, lr, copies
        self._moving, self._spread = np.ones(len(point), dtype=bool), 1.0

    def restrict(self, moving: np.ndarray, gradient: np.ndarray) -> None:
        """Move some coordinates only; the sum of the estimates begins anew with the gradient."""
        self._moving, self._sum = moving, gradient

    def step(self, losses: Losses) -> None:
        """Make one step, of 2 queries."""
        direction = self._spread * self._rng.standard_normal(len(self.point))
        move = self._distance * direction * self._moving
        plus, minus = losses(np.stack([self.point + move, self.point - move]))
        estimate = (plus - minus) / (2 * self._distance) * direction
        if self._copies is not None:
            self._sum = estimate = self._sum + estimate
            self._spread = self._copies**-0.5
        self.point = self.point - self._lr * estimate * self._moving
