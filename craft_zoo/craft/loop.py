"""The collaborative loop: an optimizer proposes prompts, a refiner corrects their logits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from craft_zoo.blackbox.base import BlackBox, ImageSet
from craft_zoo.blackbox.meter import Meter
from craft_zoo.craft.objective import Objective
from craft_zoo.craft.outliers import OutlierFilter
from craft_zoo.craft.step import Step
from craft_zoo.metrics import accuracy
from craft_zoo.optimizers import Optimizer
from craft_zoo.prompts import PromptSpace
from craft_zoo.seeding import generator
from craft_zoo.solution import Solution

_BLOCK_BYTES = 2**24  # maximum size of the refiner's activations when losses are computed
# Maximum number of logits of one candidate that an optimizer that learns from outputs receives; on
# larger tasks it receives those of a subset of the images.
_MAX_OUTPUT_LOGITS = 2**16


def collaborate(
    box: BlackBox,
    images: ImageSet,
    *,
    meter: Meter,
    optimizer: Optimizer,
    space: PromptSpace,
    objective: Objective,
    seed: int,
) -> Iterator[Step]:
    """Search the prompt until the budget is spent or the optimizer or the objective stops.

    Args:
        box: the black box, not yet metered.
        images: the N training images.
        meter: counts the queries; it must have a budget.
        optimizer: proposes candidates.
        space: maps the optimizer's candidates to prompts.
        objective: computes the losses and trains the refiner.
        seed: seed of the subset of images whose logits the optimizer receives.

    Yields:
        The state of the search: first of the unadapted model (unless queries were made before),
        then after each generation.
    """
    if not meter.queries:
        yield Step(0, Solution(space.start))
    search = OutlierFilter(meter.wrap(box, "search"))
    prompt = space.start
    first = objective.begin(search, images, prompt)
    if first is not None:
        trained = objective.deployed_accuracy(first)
        solution = objective.solution(prompt)
        yield Step(meter.queries, solution, train_accuracy=trained, deployed_accuracy=trained)
    rows = _output_images(objective.labels, len(box.classnames), seed)
    deployed: np.ndarray | None = None  # logits under the deployed prompt, if known
    while meter.remaining and not (optimizer.stop or objective.ended):
        if optimizer.needs_output_loss:
            optimizer.output_loss = objective.output_loss(rows)
        candidates = optimizer.ask()[: meter.remaining]
        losses: list[float] = []
        outputs: list[np.ndarray] = []
        best = None
        answers = search.logits(space.prompts(candidates), images)
        for block in _blocks(answers, objective.width):
            for logits, loss in zip(block, objective.losses(block), strict=True):
                if best is None or loss < min(losses):
                    best = logits
                losses.append(loss)
                objective.observe(logits, loss)
                if optimizer.learns_from_outputs:
                    outputs.append(logits if len(rows) == len(logits) else logits[rows])
        assert best is not None, "a generation has at least one candidate"
        optimizer.tell(candidates, np.array(losses), outputs or None)
        if first is not None and optimizer.learns_from_outputs:
            # The first generation contains this context too: what differs is noise.
            start = np.zeros((1, optimizer.dim))
            optimizer.add(start, objective.losses(first[None]), [first[rows]])
            first = None
        recommended = optimizer.recommend()
        moved = space.prompts(recommended[None])[0]
        asked_for = np.flatnonzero((candidates == recommended).all(axis=1))
        if int(np.argmin(losses)) in asked_for:
            deployed = best
        elif len(asked_for) and outputs and len(rows) == len(best):
            deployed = outputs[asked_for[0]]  # with noise, the least loss may be luck
        elif not np.array_equal(moved, prompt):
            deployed = None
        prompt = moved
        objective.update(prompt, deployed)
        yield Step(
            meter.queries,
            objective.solution(prompt),
            min(losses),
            accuracy(objective.refine(best), objective.labels),
            (optimizer.stop or objective.ended) if meter.remaining else None,
            objective.deployed_accuracy(deployed),
        )


def _output_images(labels: np.ndarray, n_classes: int, seed: int) -> np.ndarray:
    """Indices of the images whose logits an optimizer receives, equally many of each class."""
    shots = int(np.bincount(labels).max())
    most = max(1, _MAX_OUTPUT_LOGITS // n_classes**2)
    if shots <= most:
        return np.arange(len(labels))
    rng = generator(seed, "told images")
    chosen = [rng.permutation(np.flatnonzero(labels == label))[:most] for label in range(n_classes)]
    return np.sort(np.concatenate(chosen))


def _blocks(answers: Iterator[np.ndarray], width: int) -> Iterator[np.ndarray]:
    """(p, N, C) logits of p candidates, of which each block has at most ``_BLOCK_BYTES``."""
    block: list[np.ndarray] = []
    for logits in answers:
        block.append(logits)
        n_images, n_classes = logits.shape
        widest = 4 * n_images * max(n_classes, width)
        if len(block) * widest >= _BLOCK_BYTES:
            yield np.stack(block) if len(block) > 1 else logits[None]
            block = []
    if block:
        yield np.stack(block)
