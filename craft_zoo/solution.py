"""Solution, what a method finds: prompt, refiner, anchors and local classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from craft_zoo.anchors import Anchors
from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompt
from craft_zoo.local_features import LocalClassifier
from craft_zoo.refiner import ConvexRefiner
from craft_zoo.refiner.transductive import TransductiveClassifier

if TYPE_CHECKING:
    from craft_zoo.refiner.network import Refiner


@dataclass(repr=False)
class Solution:
    """Result of a method.

    Attributes:
        prompt: a context before each class name, (n_ctx, dim) or (C, n_ctx, dim); or a template in
            words, or one for each class.
        refiner: corrects the logits; None: the logits are used as they are.
        anchors: additional texts whose logits are inputs of the refiner; None: there are none.
        local: classifier on features that this machine computes, whose logits are added; or None.
        transductive: classifies images together by their anchor logits; None: it cannot.
        deployable: whether it can be saved as an adapter.
    """

    deployable: ClassVar[bool] = True

    prompt: Prompt
    refiner: Refiner | ConvexRefiner | None = None
    anchors: Anchors | None = None
    local: LocalClassifier | None = None
    transductive: TransductiveClassifier | None = None

    def __repr__(self) -> str:
        found = self.prompt
        prompt = f"contexts {found.shape}" if isinstance(found, np.ndarray) else "words"
        parts = [prompt, *([type(self.refiner).__name__] if self.refiner is not None else [])]
        if self.anchors is not None:
            parts.append(f"{len(self.anchors)} anchors")
        if self.local is not None:
            parts.append(f"local features {self.local.features}")
        return f"<{type(self).__name__}: {', '.join(parts)}>"

    @property
    def predictions(self) -> float:
        """Predictions per deployed image: 1, plus M / C for M anchor logits."""
        if self.anchors is None or not isinstance(self.refiner, ConvexRefiner):
            return 1.0
        return 1 + len(self.anchors) / self.refiner.n_classes

    @property
    def billed_predictions(self) -> int:
        """Predictions that a service bills per deployed image: one for each prompt.

        A prompt is billed once, whatever the number of texts that it is asked with.
        """
        return 1 if self.anchors is None else 1 + len(self.anchors.prompts)

    def logits(
        self, box: BlackBox, images: ImageSet, anchor_logits: np.ndarray | None = None
    ) -> np.ndarray:
        """(N, C) deployed logits under the prompt; costs N predictions.

        Args:
            box: the model's classifier of the class names.
            images: N images.
            anchor_logits: (N, M), see :meth:`Anchors.logits`; required with anchors.
        """
        logits = box.score(self.prompt, images)
        return self.refine(logits, anchor_logits, self.local_logits(images))

    def local_logits(self, images: ImageSet) -> np.ndarray | None:
        """(N, C) logits of :attr:`local` for N images; None without it."""
        return None if self.local is None else self.local.logits(images)

    def refine(
        self,
        logits: np.ndarray,
        anchor_logits: np.ndarray | None = None,
        local: np.ndarray | None = None,
    ) -> np.ndarray:
        """Deployed logits from the black box's: refined, if there is a refiner, plus local ones.

        Of an image that a service refused to answer about, the refined ones are equal: a refiner's
        bias says nothing of it.

        Args:
            logits: (N, C) under the prompt.
            anchor_logits: (N, M) of the anchors.
            local: (N, C) of :attr:`local`.
        """
        refused = are_refused(logits, anchor_logits)
        if isinstance(self.refiner, ConvexRefiner):
            logits = self.refiner.refine(logits, anchor_logits)
        elif self.refiner is not None:
            logits = self.refiner.refine(logits)
        if refused.any():
            logits = np.where(refused[:, None], np.float32(0), logits)
        return logits if local is None else logits + local


def are_refused(logits: np.ndarray, anchor_logits: np.ndarray | None = None) -> np.ndarray:
    """(N,) whether a service refused all questions about an image, whose logits are then 0.

    Args:
        logits: (N, C) under the prompt.
        anchor_logits: (N, M) of the anchors.
    """
    answered: np.ndarray = np.any(logits, axis=1)
    if anchor_logits is not None:
        answered = answered | np.any(anchor_logits, axis=1)
    return ~answered


def are_learnt_from(
    labels: np.ndarray, logits: np.ndarray, anchor_logits: np.ndarray | None = None
) -> np.ndarray:
    """(N,) whether each training image is used in a fit: not if it was refused.

    A class of which all images were refused keeps them, as a fit needs images of each class.

    Args:
        labels: (N,) int64.
        logits: see :func:`are_refused`.
        anchor_logits: see :func:`are_refused`.
    """
    kept = ~are_refused(logits, anchor_logits)
    return kept | ~np.isin(labels, labels[kept])
