"""Estimates of an adapter's accuracy on new images, made at the end of tuning.

The training accuracy is no such estimate, as prompt and refiner were fitted to those images. Both
estimates come with the zero-shot accuracy on the same images:

- :func:`~craft_zoo.evaluate`: accuracy on labelled images outside the few shots
- :func:`cross_validate`: accuracy of the whole method, tuned on three quarters of the shots and
  measured on the fourth, four times

:func:`choose_estimate` chooses the one that costs little. It never cross-validates the refiner
alone under a prompt that was searched on all shots: on EuroSAT that gives 100 %, where the accuracy
on the test images is 73 % (docs/lab-notebook.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from craft_zoo.blackbox import VLM, words_before
from craft_zoo.craft import CraftConfig
from craft_zoo.data import LabelledImages, Task
from craft_zoo.data.copies import distinct, without_known
from craft_zoo.errors import CraftZooError
from craft_zoo.evaluation import Evaluation, evaluate
from craft_zoo.methods import (
    find_method,
    most_predictions,
    most_prompts,
    most_queries,
    starting_template,
)
from craft_zoo.refiner.folds import held_out_splits
from craft_zoo.seeding import generator
from craft_zoo.tuning import tune

_FEW_QUERIES = 100  # maximum of a method that counts as not searching
_FEWEST_OUTSIDE, _MOST_OUTSIDE = 20, 1000  # minimum and maximum number of images
_SHARE = 10  # measuring outside the shots may cost a tenth of a billed run


def cross_validate(vlm: VLM, task: Task, **arguments: Any) -> Iterator[Evaluation]:
    """Tune without one fold of the shots and measure on it, for each of up to four folds.

    The sum of the estimates covers all shots. The adapters are tuned on fewer shots than the final
    one, so the estimate tends to be too low.

    Args:
        vlm: the model. With the :class:`~craft_zoo.blackbox.RememberingVLM` that the final adapter
            was tuned with, a method that queries fixed prompts needs no new predictions.
        task: the task; the training images of each class are divided equally.
        arguments: arguments of :func:`craft_zoo.tune`; the budget is that of one fold.

    Raises:
        CraftZooError: a class has a single image, so that none can be held out.
    """
    task = replace(task, train=distinct(task.train))
    parts = held_out_parts(task.train)
    if not parts:
        raise CraftZooError(
            "cross-validation needs two shots of each class or more, and of two groups or more "
            "where images have groups: add images, or leave it out"
        )
    arguments["compare_images"] = False  # tuning on all shots compares them
    for held in parts:
        kept = np.setdiff1d(np.arange(len(task.train)), held)
        tuned = tune(vlm, replace(task, train=task.train.take(kept)), **arguments)
        yield evaluate(tuned.adapter, vlm, task.train.take(held))


def held_out_parts(images: LabelledImages) -> list[np.ndarray]:
    """Places of the training images of each evaluation by :func:`cross_validate`; none: no image.

    Args:
        images: the training images without copies.
    """
    splits = held_out_splits(images.labels, images.groups) or []
    return [np.flatnonzero(held) for _, held in splits]


Kind = Literal["shots", "outside", "refine", "whole", "none"]


@dataclass(frozen=True)
class Choice:
    """The way in which a run's accuracy on new images is estimated.

    Attributes:
        kind: ``shots``: :func:`cross_validate` with remembered answers; ``outside``:
            evaluation on ``images``; ``refine``: :func:`cross_validate` of the method
            ``refine`` instead of one that searches; ``whole``: of the method itself, with new
            queries; ``none``: no image can be held out.
        images: labelled images outside the shots.
        predictions: maximum number of predictions billed in addition to those of the run.
        words: description of the images, printed after the accuracy.
        runs: number of runs of the method, that of tuning included.
        share: training images of all runs but that of tuning, relative to those of that one.
    """

    kind: Kind
    images: LabelledImages
    predictions: int
    words: str
    runs: int = 1
    share: float = 0.0


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
    """Choose an estimate of low cost.

    Args:
        task: the task.
        method: name of the method.
        config: its settings.
        budget: queries of the run.
        seed: seed of the choice of images outside the shots.
        bills: whether the model bills; images outside the shots may then cost a tenth of the run.
        whole: cross-validate the method itself, at any cost.
    """
    n_shots, n_classes = len(task.train), len(task.classnames)
    none = task.train.take(np.zeros(0, np.int64))
    parts = held_out_parts(task.train)
    n_folds = len(parts)
    # Each tuning run uses all shots except those of one fold; some are in no fold.
    held = sum(map(len, parts))
    share = Fraction(n_folds * n_shots - held, max(n_shots, 1))
    apart = "" if task.train.groups is None else " of different groups"
    on_shots = f"cross-validated on the {n_shots:,} training images, in {n_folds} parts{apart}"
    asked = most_predictions(method, config, budget, n_shots, n_classes)
    # An image is scored under the deployed prompts and under the initial one.
    found = find_method(method)
    measured = 2 + found.anchor_prompts(config, budget, n_classes)
    if whole and n_folds:
        predictions = math.ceil(share * asked) + measured * held
        return Choice("whole", none, predictions, on_shots, runs=1 + n_folds, share=float(share))
    # A method that queries few prompts at any budget does not search.
    searches = most_queries(method, config, 10**9, n_classes) > _FEW_QUERIES
    if n_folds and not searches and not found.white_box:
        additional = _additional_predictions(task, method, config, budget, share)
        return Choice("shots", none, additional, on_shots)
    unused = none if task.unused is None else task.unused
    most = min(len(unused), _MOST_OUTSIDE, max(200, 2 * n_shots))
    if bills:
        most = min(most, asked // (measured * _SHARE))
    if most >= _FEWEST_OUTSIDE:
        chosen = generator(seed, "estimate").permutation(len(unused))[:most]
        outside = without_known(unused.take(np.sort(chosen)), task.train)
        found_classes = len(np.unique(unused.labels))
        # Where small classes have all their images among the shots, the others say little of them.
        if len(outside) >= _FEWEST_OUTSIDE and 2 * found_classes >= n_classes:
            some = (
                "" if found_classes == n_classes else f"of {found_classes} of {n_classes} classes "
            )
            words = f"measured on {len(outside):,} labelled images {some}outside the {n_shots:,}"
            words += " training images"
            return Choice("outside", outside, measured * len(outside), words)
    if n_folds:
        words = f"of the method refine, {on_shots}, as the search has seen them all"
        additional = n_shots + _additional_predictions(task, "refine", config, budget, share)
        return Choice("refine", none, additional, words)
    lacking = "no class has an image to spare"
    if task.train.groups is not None:
        lacking = "too few classes have training images of several groups"
    words = f"{lacking}; probabilities may be far too sure (see --calibrate)"
    return Choice("none", none, 0, words)


def _additional_predictions(
    task: Task, method: str, config: CraftConfig, budget: int, share: Fraction
) -> int:
    """Predictions billed by cross-validation when the answers about the shots are remembered.

    Args:
        task: the task.
        method: a method that does not search and was tuned on all shots.
        config: its settings.
        budget: in queries.
        share: see :class:`Choice`.
    """
    n_shots, n_classes = len(task.train), len(task.classnames)
    # Augmented views are drawn anew each time, so their answers are never remembered.
    anew = most_predictions(method, config, budget, n_shots, n_classes)
    asked = most_prompts(method, config, budget, n_classes)
    anew -= asked * n_shots
    new = [
        not (asked and find_method(method).asks_initial),
        # Then the template cannot be a context, and zero-shot uses another prompt.
        not words_before(starting_template(config, task.template)),
        asks_anchors_anew(method, config, budget, n_classes),
    ]
    return math.ceil(share * anew) + sum(new) * n_shots


def asks_anchors_anew(method: str, config: CraftConfig, budget: int, n_classes: int) -> bool:
    """Whether the folds of cross-validation need answers about anchors that tuning did not ask for.

    Each fold may choose its own words, which form another label set; or none were asked about.
    """
    found = find_method(method)
    if found.chooses_words(config, budget, n_classes):
        return True
    asked = most_prompts(method, config, budget, n_classes)
    return found.anchor_prompts(config, budget, n_classes) > 0 and not asked
