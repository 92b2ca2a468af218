"""CraFT's collaborative loop: a prompt searched without gradients, a refiner trained with them.

Wang et al., "Connecting the Dots: Collaborative Fine-tuning for Black-Box Vision-Language Models",
ICML 2024. Of the model only the black box's interface is used here.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from craft_zoo.adapter import Solution
from craft_zoo.blackbox.base import BlackBox, ImageSet
from craft_zoo.blackbox.meter import Meter
from craft_zoo.errors import CraftZooError
from craft_zoo.losses import collaborative_loss, cross_entropy
from craft_zoo.metrics import accuracy
from craft_zoo.optimizers import Optimizer
from craft_zoo.prompts import Subspace
from craft_zoo.refiner import Refiner, RefinerTrainer
from craft_zoo.seeding import derived_seed, generator

_BLOCK_BYTES = 2**24  # activations of the refiner, for logits whose losses are computed together
_HEARD_BYTES = 2**30  # logits that are kept for the refiner's next lesson


@dataclass(frozen=True)
class CraftConfig:
    """Settings of the collaborative loop; the defaults serve every data set.

    Attributes:
        intrinsic_dim: d, dimensions that the optimizer searches.
        scale: size of the subspace, see :meth:`Subspace.relative`.
        consistency: w, weight of the prediction-consistent term in both losses.
        consistency_share: share of the budget after which the refiner's loss drops that term
            (1/n of the paper).
        hidden: width of the refiner's hidden layer.
        lr: Adam's learning rate for the refiner.
        batch_size: logits a step of the refiner's training.
        epoch_queries: the refiner trains one epoch each time so many queries were made, so that
            optimizers with small and large generations train it alike.
        views: augmented views of the training images that the refiner is trained on, asked for
            under the current context at the price of N predictions an epoch. 0: it is trained on
            the logits that queries have returned, which costs no prediction.
    """

    intrinsic_dim: int = 512
    scale: float = 3.0
    consistency: float = 0.1
    consistency_share: float = 1.0
    hidden: int = 256
    lr: float = 1e-3
    batch_size: int = 256
    epoch_queries: int = 40
    views: int = 0

    def __post_init__(self) -> None:
        for name in ("intrinsic_dim", "scale", "hidden", "lr", "batch_size", "epoch_queries"):
            if not getattr(self, name) > 0:
                raise CraftZooError(f"setting {name} must be above 0, not {getattr(self, name)}")
        for name in ("consistency", "consistency_share", "views"):
            if not getattr(self, name) >= 0:
                raise CraftZooError(
                    f"setting {name} must not be below 0, it is {getattr(self, name)}"
                )


@dataclass(frozen=True)
class Step:
    """Where a method stands.

    Attributes:
        queries: made so far.
        solution: what would be deployed now. Its refiner goes on training: use it before the
            method goes on.
        loss: the smallest loss of the generation, NaN where no loss was computed.
        train_accuracy: of the best candidate on the training images, as deployed; NaN likewise.
        ended: why the search has ended before the budget, in the optimizer's words.
    """

    queries: int
    solution: Solution
    loss: float = float("nan")
    train_accuracy: float = float("nan")
    ended: str | None = None


def collaborate(
    box: BlackBox,
    images: ImageSet,
    labels: np.ndarray,
    *,
    meter: Meter,
    optimizer: Optimizer,
    subspace: Subspace,
    refiner: Refiner | None,
    config: CraftConfig,
    seed: int,
    views: Sequence[ImageSet] = (),
) -> Iterator[Step]:
    """Search the context and train the refiner until budget or optimizer have come to their end.

    Args:
        box: the black box, not yet metered.
        images: the N training images.
        labels: (N,) int64.
        meter: counts all that is asked; it must have a budget.
        optimizer: searches the subspace.
        subspace: maps its candidates to contexts.
        refiner: trained in place; None for the prompt side alone.
        config: settings.
        seed: seed of the refiner's training order.
        views: augmented views for the refiner, see :attr:`CraftConfig.views`.

    Yields:
        Where the search stands: first the model as it comes, at no query, then after each
        generation.
    """
    yield Step(queries=0, solution=Solution(box.initial_context))
    search = meter.wrap(box, "search")
    teacher = _Teacher(box, labels, meter, refiner, config, seed, views) if refiner else None
    targets = torch.from_numpy(labels)
    while meter.remaining and not optimizer.stop:
        candidates = optimizer.ask()[: meter.remaining]
        losses: list[float] = []
        outputs: list[np.ndarray] = []
        best = None
        answers = search.logits(subspace.contexts(candidates), images)
        for block in _together(answers, config.hidden):
            for logits, loss in zip(
                block, _prompt_losses(block, targets, refiner, config), strict=True
            ):
                if best is None or loss < min(losses):
                    best = logits
                losses.append(loss)
                if teacher:
                    teacher.listen(logits, loss)
                if optimizer.learns_from_outputs:
                    outputs.append(logits)
        optimizer.tell(candidates, np.array(losses), outputs or None)
        context = subspace.contexts(optimizer.recommend()[None])[0]
        if teacher:
            teacher.teach(context)
        solution = Solution(context, refiner)
        assert best is not None, "a generation has at least one candidate"
        yield Step(
            meter.queries,
            solution,
            min(losses),
            accuracy(solution.refine(best), labels),
            optimizer.stop if meter.remaining else None,
        )


def refine_only(
    box: BlackBox,
    images: ImageSet,
    labels: np.ndarray,
    *,
    meter: Meter,
    refiner: Refiner,
    config: CraftConfig,
    seed: int,
    views: Sequence[ImageSet] = (),
) -> Iterator[Step]:
    """Train the refiner under the initial context, for as many epochs as CraFT would in the budget.

    Arguments as for :func:`collaborate`.

    Yields:
        One step. It has cost one query; with views, none, but N predictions an epoch.
    """
    epochs = (meter.budget or 0) // config.epoch_queries
    teacher = _Teacher(box, labels, meter, refiner, config, seed, views)
    logits = None
    if not views:
        logits = next(meter.wrap(box, "search").logits(box.initial_context[None], images))
    for _ in range(max(1, epochs)):
        if logits is not None:
            teacher.learn(torch.from_numpy(logits))
        else:
            teacher.learn_views(box.initial_context)
    solution = Solution(box.initial_context, refiner)
    if logits is None:
        yield Step(meter.queries, solution)
    else:
        yield Step(
            meter.queries, solution, train_accuracy=accuracy(solution.refine(logits), labels)
        )


def _together(answers: Iterator[np.ndarray], hidden: int) -> Iterator[np.ndarray]:
    """(p, N, C) logits of p candidates, as many as are small enough to be handled at once."""
    block: list[np.ndarray] = []
    for logits in answers:
        block.append(logits)
        n_images, n_classes = logits.shape
        widest = 4 * n_images * max(n_classes, hidden)
        if len(block) * widest >= _BLOCK_BYTES:
            yield np.stack(block) if len(block) > 1 else logits[None]
            block = []
    if block:
        yield np.stack(block)


def _prompt_losses(
    logits: np.ndarray, labels: Tensor, refiner: Refiner | None, config: CraftConfig
) -> list[float]:
    with torch.inference_mode():
        returned = torch.from_numpy(logits)
        if refiner is None:
            losses = cross_entropy(returned, labels)
        else:
            refined = refiner(returned)
            losses = collaborative_loss(returned, refined, labels, config.consistency)
        return losses.tolist()


class _Teacher:
    """Trains the refiner, one epoch each ``epoch_queries`` queries.

    The lesson is drawn from the better half of what the queries since the last epoch have returned,
    logits under contexts near to the one that would be deployed: their spread is its augmentation.
    """

    def __init__(
        self,
        box: BlackBox,
        labels: np.ndarray,
        meter: Meter,
        refiner: Refiner,
        config: CraftConfig,
        seed: int,
        views: Sequence[ImageSet],
    ) -> None:
        self._box = meter.wrap(box, "refiner")
        self._labels = torch.from_numpy(labels)
        self._meter, self._config, self._views = meter, config, views
        self._trainer = RefinerTrainer(
            refiner,
            lr=config.lr,
            batch_size=config.batch_size,
            seed=derived_seed(seed, "refiner order"),
        )
        self._rng = generator(seed, "refiner lessons")
        self._heard: list[tuple[float, int, np.ndarray]] = []  # in order of loss
        self._n_heard = 0
        self._epochs = 0

    def listen(self, logits: np.ndarray, loss: float) -> None:
        """Take note of what a query has returned."""
        if self._views:
            return
        if logits.base is not None and logits.base.nbytes > logits.nbytes:
            logits = logits.copy()  # a view would keep all that it was computed with
        bisect.insort(self._heard, (loss, self._n_heard, logits), key=lambda entry: entry[:2])
        self._n_heard += 1
        del self._heard[max(1, _HEARD_BYTES // logits.nbytes) :]

    def teach(self, context: np.ndarray) -> None:
        """Train if it is time."""
        if self._meter.queries < (self._epochs + 1) * self._config.epoch_queries:
            return
        self._epochs = self._meter.queries // self._config.epoch_queries
        if self._views:
            self.learn_views(context)
        else:
            self.learn(self._lesson())
        self._heard.clear()
        self._n_heard = 0

    def _lesson(self) -> Tensor:
        """(N, C) logits: for each image the answer under one of the better contexts, at random."""
        better = self._heard[: (self._n_heard + 1) // 2]
        chosen = self._rng.integers(len(better), size=len(self._labels))
        return torch.from_numpy(
            np.stack([better[context][2][image] for image, context in enumerate(chosen)])
        )

    def learn_views(self, context: np.ndarray) -> None:
        """One epoch on an augmented view under ``context``; N predictions."""
        view = self._views[
            self._meter.predictions["refiner"] // len(self._labels) % len(self._views)
        ]
        self.learn(torch.from_numpy(next(self._box.logits(context[None], view))))

    def learn(self, logits: Tensor) -> None:
        """One epoch on (N, C) logits of the training images."""
        budget = self._meter.budget or 0
        early = self._meter.queries <= self._config.consistency_share * budget
        self._trainer.epoch(logits, self._labels, self._config.consistency if early else 0.0)
