"""What is asked of a black box beside the classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompts


@dataclass(frozen=True)
class Anchors:
    """Texts under prompts; their logits are features of an image.

    M = P · T anchor logits an image cost M / C predictions.

    Attributes:
        texts: T texts that stand where a class name would.
        prompts: P contexts, (P, n_ctx, dim) float32, or P templates.
    """

    texts: tuple[str, ...]
    prompts: Prompts

    def __len__(self) -> int:
        return len(self.prompts) * len(self.texts)

    def logits(self, box: BlackBox, images: ImageSet) -> np.ndarray:
        """(N, M) float32.

        Args:
            box: the model opened on :attr:`texts`, metered or not.
            images: N images.
        """
        return np.concatenate(list(box.logits(self.prompts, images)), axis=1)
