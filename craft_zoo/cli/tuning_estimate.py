"""Estimate of a tuned adapter's accuracy on new images, by which it is calibrated."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import VLM, Progress
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec, LabelledImages, Task
from craft_zoo.data.copies import shown, without_known
from craft_zoo.errors import CraftZooError
from craft_zoo.estimate import Choice, choose_estimate, cross_validate, held_out_parts
from craft_zoo.evaluation import Evaluation, evaluate, labelled
from craft_zoo.methods import find_method
from craft_zoo.printable import printable
from craft_zoo.refiner import ConvexRefiner, folds_leave_one_image
from craft_zoo.tuning import Tuned

# Probability of another class from which the label of a held-out image is doubtful, and the number
# of such images that are named (docs/lab-notebook.md, "Wrong labels").
_DOUBTFUL, _MOST_DOUBTFUL = 0.7, 5


def read_estimate(
    options: argparse.Namespace,
    spec: DatasetSpec,
    task: Task,
    arguments: dict[str, Any],
    *,
    bills: bool,
) -> Choice:
    """The estimate that ``--estimate`` or ``--calibrate`` asks for.

    Args:
        options: parsed arguments.
        spec: the data set of the task.
        task: the task.
        arguments: those of :func:`craft_zoo.tune`.
        bills: see :func:`choose_estimate`.

    Raises:
        CraftZooError: the data set of ``--calibrate`` cannot be opened, or has other classes or no
            other images.
    """
    choice = options.method, arguments["config"], arguments["budget"]
    if options.calibrate is not None:
        return _on_other_data(spec.other(options.calibrate), task, *choice)
    if options.estimate == "none":
        return Choice("none", task.train.take(np.zeros(0, np.int64)), 0, "not asked for")
    whole = options.estimate == "cross-validate"
    return choose_estimate(task, *choice, seed=options.seed, bills=bills, whole=whole)


def _on_other_data(
    spec: DatasetSpec, task: Task, method: str, config: CraftConfig, budget: int
) -> Choice:
    """The estimate on the test images of another data set, with the same classes.

    Images that are copies of training images, or share a group with one, are left out.
    """
    dataset = spec.open()
    classnames, images = labelled(task.classnames, dataset)
    places = np.array([task.classnames.index(name) for name in classnames])
    all_images = replace(images, labels=places[images.labels])
    images = without_known(all_images, task.train)
    each = 2 + find_method(method).anchor_prompts(config, budget, len(task.classnames))
    words = f"measured on {len(images):,} test images of {dataset.name}"
    if known := len(all_images) - len(images):
        words += f", without {known:,} that are copies of training images or share a group with one"
    if not len(images):
        raise CraftZooError(
            f"all test images of {printable(dataset.name)} are copies of training images or "
            f"share a group with one: name another data set with calibrate (--calibrate)"
        )
    return Choice("outside", images, each * len(images), words)


def estimated(
    tuned: Tuned,
    vlm: VLM,
    task: Task,
    choice: Choice,
    arguments: dict[str, Any],
    progress: Progress,
) -> tuple[Adapter, list[str], Evaluation | None]:
    """The calibrated adapter, lines with its accuracies, and their evaluation on new images."""
    shots = f"Training accuracy, of the {len(task.train):,} images that it was fitted to"
    learnt = tuned.train_accuracy
    lines = [] if np.isnan(learnt) else [f"{shots}: {100 * learnt:.1f} %"]
    adapter = tuned.adapter
    if choice.kind == "none":
        return adapter, [*lines, f"Accuracy on new images: not estimated, {choice.words}"], None
    try:
        if choice.kind == "outside":
            found = evaluate(adapter, vlm, choice.images, progress)
        else:
            method = {"method": "refine", "optimizer": None} if choice.kind == "refine" else {}
            found = reduce(add, cross_validate(vlm, task, **(arguments | method)))
    except CraftZooError as error:  # for instance at a cost limit; the adapter is saved anyway
        return adapter, [*lines, f"Accuracy on new images: not estimated ({error})"], None
    lines.append(f"Accuracy on new images, an estimate: {found}; {choice.words}")
    is_held_out, train = choice.kind != "outside", task.train
    of_one_image = is_held_out and folds_leave_one_image(train.labels, train.groups)
    if is_held_out and not of_one_image:  # refiners of one image a class are too sure of all
        lines += _doubtful_labels(found, train)
    # Convex refiners of one image a class are sure otherwise than that of two, which is calibrated
    # already, see craft_zoo.refiner.calibration_scale.
    is_calibrated = of_one_image and isinstance(adapter.solution.refiner, ConvexRefiner)
    if choice.kind != "refine" and not is_calibrated:
        # With refine, these are the logits of another method.
        adapter = replace(adapter, temperature=found.fit_temperature())
        words = f"Temperature of the probabilities: {adapter.temperature:.2f}"
        lines.append(f"{words}, fitted on the same images")
    return adapter, lines, None if choice.kind == "refine" else found


def _doubtful_labels(found: Evaluation, images: LabelledImages) -> list[str]:
    """Lines with the training images that were surest of another class while held out.

    Args:
        found: the sum of what :func:`cross_validate` yields.
        images: the training images.
    """
    places = np.concatenate(held_out_parts(images))
    names, surest = found.classnames, found.probabilities.max(axis=1)
    wrong = [each for each in found.mistakes.tolist() if surest[each] > _DOUBTFUL][:_MOST_DOUBTFUL]
    lines = [
        f"  {shown(images, int(places[each]))}: {names[found.labels[each]]}, or "
        f"{names[found.predicted[each]]} ({100 * surest[each]:.0f} %)?"
        for each in wrong
    ]
    return ["Look whether these training images have the right labels:", *lines] if lines else []
