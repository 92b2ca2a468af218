"""Prediction: the logits of images under solutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from craft_zoo.anchors import Anchors
from craft_zoo.blackbox.base import VLM, BlackBox, ImageSet
from craft_zoo.blackbox.meter import Meter

if TYPE_CHECKING:
    from craft_zoo.solution import Solution

Answers = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]
"""The arguments of :meth:`Solution.refine`: (N, C) logits under the prompt, (N, M) logits of the
anchors or None, and (N, C) logits of the classifier on local features or None."""


class Predictor:
    """Queries a model for the logits of images under solutions.

    The latest anchors' logits are cached, as the solutions of a run have the same anchors.

    Args:
        vlm: the model.
        box: the model opened on C class names.
        images: N images of the same model.
        meter: counts the predictions as evaluation; None: they are not counted.
    """

    def __init__(
        self, vlm: VLM, box: BlackBox, images: ImageSet, meter: Meter | None = None
    ) -> None:
        self._vlm, self._images, self._meter = vlm, images, meter
        self._box = self._metered(box)
        self._anchors: Anchors | None = None
        self._anchor_logits: np.ndarray | None = None

    def logits(self, solution: Solution) -> np.ndarray:
        """(N, C) deployed logits under the solution."""
        return solution.logits(self._box, self._images, self._logits_of(solution.anchors))

    def ask(self, solution: Solution) -> Answers:
        """The arguments of :meth:`Solution.refine`."""
        logits = self._box.score(solution.prompt, self._images)
        return logits, self._logits_of(solution.anchors), solution.local_logits(self._images)

    def _logits_of(self, anchors: Anchors | None) -> np.ndarray | None:
        if anchors is None:
            return None
        if anchors is not self._anchors:
            box = self._metered(self._vlm.independent(anchors.texts, self._box.template))
            self._anchors, self._anchor_logits = anchors, anchors.logits(box, self._images)
        return self._anchor_logits

    def _metered(self, box: BlackBox) -> BlackBox:
        return box if self._meter is None else self._meter.wrap(box, "evaluation")
