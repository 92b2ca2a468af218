"""Evaluation of a solution on class names of another data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet
from craft_zoo.blackbox.meter import Meter
from craft_zoo.predictor import Predictor
from craft_zoo.solution import Solution


def transfer(
    solution: Solution,
    vlm: VLM,
    box: BlackBox,
    images: ImageSet,
    classnames: Sequence[str],
    meter: Meter | None = None,
) -> np.ndarray:
    """(N, K) logits of images for other class names.

    If the solution was found for all of these names (as in distribution shifts of ImageNet), its
    logits are computed with the refiner and their columns are selected. Otherwise only the prompt
    is used with the new names, as the refiner is fitted to the old ones. Class-specific contexts
    are replaced by their mean, and class-specific templates by the initial prompt.

    Args:
        solution: the solution.
        vlm: the model.
        box: the classifier that the solution was found with.
        images: N images, encoded by the same model.
        classnames: the K names.
        meter: counts the predictions, as evaluation.

    Raises:
        CraftZooError: a class name is too long for the model.
    """
    if set(classnames) <= set(box.classnames):
        logits = Predictor(vlm, box, images, meter).logits(solution)
        return logits[:, [box.classnames.index(name) for name in classnames]]
    prompt = solution.prompt
    if isinstance(prompt, np.ndarray) and prompt.ndim == 3:
        prompt = prompt.mean(axis=0)
    elif isinstance(prompt, tuple):
        prompt = box.initial_prompt
    renamed = vlm.classifier(classnames, box.template)
    return Predictor(vlm, renamed, images, meter).logits(Solution(prompt))
