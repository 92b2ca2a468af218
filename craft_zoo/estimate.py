"""How good an adapter is on images that nothing was fitted to, estimated at the end of tuning.

The training accuracy says little: prompt and refiner were fitted to those images. Two figures do,
and both come with the zero-shot accuracy on the same images:

- :func:`measure`: on labelled images outside the few shots
- :func:`cross_validate`: the whole method on three quarters of the shots, judged on the fourth,
  four times

:func:`choose_estimate` says which of them a run can have at little cost. What it never does is to
cross-validate the refiner alone under a prompt that was searched on all shots: on EuroSAT that says
100 % where the test images say 73 (docs/method.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import VLM, Progress, words_before
from craft_zoo.craft import CraftConfig
from craft_zoo.data import LabelledImages, Task
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import (
    asks_initial,
    is_white_box,
    most_predictions,
    most_prompts,
    most_queries,
    prompts_an_image,
    starting_template,
)
from craft_zoo.metrics import interval
from craft_zoo.predictor import Predictor
from craft_zoo.refiner import held_out_folds
from craft_zoo.seeding import generator
from craft_zoo.tuning import tune

_FEW_QUERIES = 100  # of a method whose answers are all kept, to cross-validate it for nothing
_FEWEST_OUTSIDE, _MOST_OUTSIDE = 20, 1000  # images that are worth measuring on, and that suffice
_SHARE = 10  # what measuring outside the shots may cost of a service that bills: a tenth


@dataclass(frozen=True)
class Estimate:
    """Accuracy on images that the adapter was not fitted to.

    Attributes:
        images: how many it was measured on.
        correct: how many of them are classified correctly by the adapter.
        zero_shot: how many are by the model as it comes, under the initial prompt.
    """

    images: int
    correct: int
    zero_shot: int

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.images + other.images,
            self.correct + other.correct,
            self.zero_shot + other.zero_shot,
        )

    def __str__(self) -> str:
        low, high = interval(self.correct, self.images)
        return (
            f"{100 * self.correct / self.images:.1f} % "
            f"(95 % interval {100 * low:.1f} to {100 * high:.1f}), "
            f"zero-shot {100 * self.zero_shot / self.images:.1f} %"
        )


def measure(
    adapter: Adapter, vlm: VLM, images: LabelledImages, progress: Progress | None = None
) -> Estimate:
    """Ask for N predictions by the adapter (with anchors more), and N by the initial prompt.

    Args:
        adapter: to be judged.
        vlm: its model.
        images: N images that it was not fitted to.
        progress: called as the model takes the images in.

    Raises:
        CraftZooError: the model is another one, or an image is bad.
    """
    handed = vlm.images(images.images, progress)
    box = adapter.open(vlm)
    adapted = adapter.solution.refine(*Predictor(vlm, box, handed).ask(adapter.solution))
    as_it_comes = box.score(box.initial_prompt, handed)
    return Estimate(len(images), _correct(adapted, images), _correct(as_it_comes, images))


def cross_validate(vlm: VLM, task: Task, **arguments: Any) -> Iterator[Estimate]:
    """Tune without one part of the shots and measure on it, for each of up to four parts.

    The sum of the estimates is of all shots. The adapters have seen fewer shots than one that is
    tuned on all, so they are, if anything, less accurate.

    Args:
        vlm: the model. Behind a :class:`~craft_zoo.blackbox.RememberingVLM` that the adapter on all
            shots was tuned with, a method that asks about fixed prompts asks nothing more.
        task: its training images are divided, a class's images equally.
        arguments: of :func:`craft_zoo.tune`; the budget is that of one part.

    Raises:
        CraftZooError: a class has a single image, so that none can be held out.
    """
    folds = held_out_folds(task.train.labels)
    if folds is None:
        raise CraftZooError(
            "cross-validation needs two shots of each class or more: add images, or leave it out"
        )
    for fold in range(folds.max() + 1):
        kept, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        tuned = tune(vlm, replace(task, train=task.train.take(kept)), **arguments)
        yield measure(tuned.adapter, vlm, task.train.take(held))


def _correct(logits: np.ndarray, images: LabelledImages) -> int:
    return int((logits.argmax(axis=-1) == images.labels).sum())


Kind = Literal["shots", "outside", "refine", "whole", "none"]


@dataclass(frozen=True)
class Choice:
    """How a run's accuracy on new images is to be estimated.

    Attributes:
        kind: ``shots``: :func:`cross_validate`, all answers being known; ``outside``:
            :func:`measure` on ``images``; ``refine``: :func:`cross_validate` of the method
            ``refine`` in place of one that searches; ``whole``: of the method itself, asking anew;
            ``none``: there is nothing to hold out.
        images: labelled images outside the shots.
        predictions: at most so many are billed, beside those of the run.
        words: what it is measured on, to stand behind the figure.
    """

    kind: Kind
    images: LabelledImages
    predictions: int
    words: str


def choose_estimate(
    task: Task,
    method: str,
    config: CraftConfig,
    budget: int,
    *,
    seed: int,
    bills: bool,
    whole: bool = False,
) -> Choice:
    """The estimate that a run can have at little cost.

    Args:
        task: what is tuned on.
        method: its name.
        config: its settings.
        budget: of the run, in queries.
        seed: of the choice of images outside the shots.
        bills: whether the model bills; images outside the shots may then cost a tenth of the run.
        whole: cross-validate the method itself, whatever it costs.
    """
    n_shots, n_classes = len(task.train), len(task.classnames)
    none = task.train.take(np.zeros(0, np.int64))
    folds = held_out_folds(task.train.labels)
    n_folds = 0 if folds is None else int(folds.max()) + 1
    on_shots = f"cross-validated on the {n_shots:,} training images, in {n_folds} parts"
    asked = most_predictions(method, config, budget, n_shots, n_classes)
    # To be measured, an image is asked about as a deployed one is, and under the initial prompt.
    measured = prompts_an_image(method, config, budget, n_classes) + 1
    if whole and n_folds:
        # Each part is tuned on what is left without one fold.
        return Choice("whole", none, (n_folds - 1) * asked + measured * n_shots, on_shots)
    # A method that asks about few prompts at any budget searches nothing.
    searches = most_queries(method, config, 10**9, n_classes) > _FEW_QUERIES
    if n_folds and not searches and not is_white_box(method):
        additional = _additional_predictions(task, method, config, budget, n_folds)
        return Choice("shots", none, additional, on_shots)
    unused = none if task.unused is None else task.unused
    most = min(len(unused), _MOST_OUTSIDE, max(200, 2 * n_shots))
    if bills:
        most = min(most, asked // (measured * _SHARE))
    if most >= _FEWEST_OUTSIDE:
        chosen = generator(seed, "estimate").permutation(len(unused))[:most]
        words = f"measured on {most:,} labelled images outside the {n_shots:,} training images"
        return Choice("outside", unused.take(np.sort(chosen)), measured * most, words)
    if n_folds:
        words = f"of the method refine, {on_shots}, as the search has seen them all"
        additional = n_shots + _additional_predictions(task, "refine", config, budget, n_folds)
        return Choice("refine", none, additional, words)
    return Choice("none", none, 0, "no class has an image to spare")


def _additional_predictions(
    task: Task, method: str, config: CraftConfig, budget: int, n_folds: int
) -> int:
    """Predictions that cross-validation bills where all answers about the shots are remembered.

    Args:
        task: what is tuned on.
        method: one that searches nothing, and was tuned on all shots.
        config: its settings.
        budget: in queries.
        n_folds: parts that the shots are divided into.
    """
    n_shots, n_classes = len(task.train), len(task.classnames)
    # Augmented views are made anew each time, and no memory has them.
    anew = most_predictions(method, config, budget, n_shots, n_classes)
    anew -= most_prompts(method, config, budget, n_classes) * n_shots
    has_anchors = prompts_an_image(method, config, budget, n_classes) > 1
    new = [
        not asks_initial(method),
        # Then no context stands for the template, and the model as it comes has another prompt.
        not words_before(starting_template(config, task.template)),
        # Words that each part chooses for itself are a label set of their own.
        has_anchors and config.anchor_bank in ("spread", "information"),
    ]
    return (n_folds - 1) * anew + sum(new) * n_shots
