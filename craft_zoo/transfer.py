"""Evaluation of a solution on class names of another data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from craft_zoo.adapter import Solution
from craft_zoo.anchors import Anchors
from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet
from craft_zoo.blackbox.meter import Meter


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
    asked = _Asked(vlm, box, meter)
    if set(classnames) <= set(box.classnames):
        anchors = solution.anchors
        beside = None if anchors is None else asked.anchors(anchors, images)
        logits = solution.logits(asked.of(box), images, beside)
        return logits[:, [box.classnames.index(name) for name in classnames]]
    prompt = solution.prompt
    if isinstance(prompt, np.ndarray) and prompt.ndim == 3:
        prompt = prompt.mean(axis=0)
    elif isinstance(prompt, tuple):
        prompt = box.initial_prompt
    return asked.of(vlm.classifier(classnames, box.template)).score(prompt, images)


class _Asked:
    """Wraps classifiers of a model in a meter, if one is given."""

    def __init__(self, vlm: VLM, box: BlackBox, meter: Meter | None) -> None:
        self._vlm, self._template, self._meter = vlm, box.template, meter

    def of(self, box: BlackBox) -> BlackBox:
        return box if self._meter is None else self._meter.wrap(box, "evaluation")

    def anchors(self, anchors: Anchors, images: ImageSet) -> np.ndarray:
        return anchors.logits(self.of(self._vlm.classifier(anchors.texts, self._template)), images)
