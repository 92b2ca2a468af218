"""Anchors, texts that are queried in addition to the class names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompts


@dataclass(frozen=True)
class Anchors:
    """T texts, each in P prompts; their logits are features of an image.

    The M = P · T anchor logits of an image cost as much as M / C predictions of C classes.

    Attributes:
        texts: T texts that take the place of a class name.
        prompts: P contexts, (P, n_ctx, dim) float32, or P templates.
    """

    texts: tuple[str, ...]
    prompts: Prompts

    def __len__(self) -> int:
        return len(self.prompts) * len(self.texts)

    def logits(self, box: BlackBox, images: ImageSet) -> np.ndarray:
        """Query the anchor logits, (N, M) float32.

        Args:
            box: black box opened with :attr:`texts` as class names, metered or not.
            images: N images.
        """
        return np.concatenate(list(box.logits(self.prompts, images)), axis=1)
