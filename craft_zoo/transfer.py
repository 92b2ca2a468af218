"""What was learned on one task, tried on another."""

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

    Where all of them are among those that the solution was found for (a distribution shift of
    ImageNet, say), it is used whole and their columns are picked. Otherwise the prompt alone goes
    with the new names, as the refiner knows the old ones only; of a context for each class it is
    the mean, and words of each class's own stay behind.

    Args:
        solution: what was found.
        vlm: the model.
        box: its classifier that the solution was found with.
        images: N images of the same model.
        classnames: the K names.
        meter: counts what is asked, as evaluation.

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
    """The model with all that is asked of it counted, if it is to be."""

    def __init__(self, vlm: VLM, box: BlackBox, meter: Meter | None) -> None:
        self._vlm, self._template, self._meter = vlm, box.template, meter

    def of(self, box: BlackBox) -> BlackBox:
        return box if self._meter is None else self._meter.wrap(box, "evaluation")

    def anchors(self, anchors: Anchors, images: ImageSet) -> np.ndarray:
        return anchors.logits(self.of(self._vlm.independent(anchors.texts, self._template)), images)
