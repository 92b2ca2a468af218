"""Replacement of wrong answers about single images, before a search learns from them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from craft_zoo.blackbox.base import BlackBox, ImageSet, Prompts
from craft_zoo.blackbox.wrappers import WrappedBlackBox

_ANSWERS = 20  # number of the latest answers of which the medians are taken
_FEWEST = 3  # a median of two answers cannot tell which of the two is wrong
_BYTES = 2**26  # maximum size of these answers, above ``_FEWEST``
# Correct rows were at most 3.7 times as far from the median row as the median of all images,
# permuted ones 5 to 100 times (docs/lab-notebook.md).
_RATIO = 5.0
# Share of a row's length below which a distance is harmless: of answers that hardly change, as
# rounded ones, the ratio alone would replace every change.
_SHARE = 0.3


class OutlierFilter(WrappedBlackBox):
    """A black box of which wrong answers about single images are replaced.

    A search moves contexts in small steps, so the logits of all images change by similar amounts.
    An image's row of logits (N, C) that is far from its median over the latest answers, compared
    with the rows of the other images, is wrong, and is replaced by this median plus the median
    change of all images. If no row is, answers are returned as they are.

    Only answers to contexts are filtered, as prompts in words do not move in small steps.

    Args:
        box: the black box to wrap, used for a single set of images.

    Attributes:
        replaced: number of rows replaced so far.
    """

    def __init__(self, box: BlackBox) -> None:
        super().__init__(box)
        self._latest: list[np.ndarray] = []
        self.replaced = 0

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        """See :meth:`BlackBox.logits`; up to 20 answers are collected before the first."""
        answers = self._box.logits(prompts, images)
        if not isinstance(prompts, np.ndarray):
            return answers
        size = 4 * len(images) * len(self.classnames)
        return self._filtered(answers, max(_FEWEST, min(_ANSWERS, _BYTES // size)))

    def _filtered(self, answers: Iterator[np.ndarray], most: int) -> Iterator[np.ndarray]:
        while block := list(islice(answers, most)):
            self._latest = [*self._latest, *block][-most:]
            if len(self._latest) >= _FEWEST:
                block = self._corrected(block)
            yield from block

    def _corrected(self, block: list[np.ndarray]) -> list[np.ndarray]:
        middle = np.median(np.stack(self._latest), axis=0)
        changes = np.stack(block) - middle
        usual = np.median(changes, axis=1, keepdims=True)
        wrong = outliers(changes - usual, middle)
        if not wrong.any():
            return block
        self.replaced += int(wrong.sum())
        return list(np.where(wrong[:, :, None], middle + usual, block))


def outliers(changes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(..., N) bool, the images whose logits changed far more than those of the others.

    Args:
        changes: (..., N, C) changes of the logits.
        rows: (N, C) logits before the change.
    """
    distances = _lengths(changes)
    usual = np.median(distances, axis=-1, keepdims=True)
    return distances > np.maximum(_RATIO * usual, _SHARE * np.median(_lengths(rows)))


def _lengths(rows: np.ndarray) -> np.ndarray:
    """(..., N) lengths of rows minus their means, which do not matter to predictions."""
    return np.linalg.norm(rows - rows.mean(axis=-1, keepdims=True), axis=-1)
