"""Canaries: small copies of a few training images, with the model's answers when it was tuned.

The model of an adapter is asked about them again, to find out whether it still answers the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageOps
from scipy.special import log_softmax

from craft_zoo.data.images import open_image
from craft_zoo.data.task import LabelledImages
from craft_zoo.errors import CraftZooError

if TYPE_CHECKING:
    from craft_zoo.adapter import Adapter
    from craft_zoo.blackbox.base import VLM

COUNT = 8
_SIDE = 64  # pixels
TOLERANCE = 0.01  # of log-probabilities; float32 on different machines differs by less
_LEAST = 1e-6  # difference of probabilities that counts where they are not rounded
_DECIMALS = (3, 4, 5)


@dataclass(frozen=True)
class Canaries:
    """K images and the answers about them under an adapter's prompt.

    Attributes:
        images: (K, H, W, 3) uint8.
        logits: (K, C) float32, as the model returned them.
        anchors: (K, M) float32 logits of the adapter's anchors; None: it has none.
    """

    images: np.ndarray
    logits: np.ndarray
    anchors: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Drift:
    """Differences of a model's answers about K canaries from those when the adapter was tuned.

    Attributes:
        differences: (K, C) absolute differences of log-probabilities under the adapter's prompt.
        relabelled: number of canaries that the adapter now predicts another class for.
        changed: whether answers differ by more than the tolerance.
    """

    differences: np.ndarray
    relabelled: int
    changed: bool


def canary_images(shots: LabelledImages) -> list[np.ndarray]:
    """Small copies, (H, W, 3) uint8, of up to :data:`COUNT` images of as many classes as possible.

    Raises:
        CraftZooError: an image cannot be read.
    """
    by_class = np.argsort(shots.labels, kind="stable")
    places = np.linspace(0, len(shots) - 1, min(COUNT, len(shots))).round().astype(int)
    copies = (
        ImageOps.fit(open_image(shots.images[place]), (_SIDE, _SIDE)) for place in by_class[places]
    )
    return [np.asarray(copy) for copy in copies]


def ask_canaries(adapter: Adapter, vlm: VLM, images: Sequence[np.ndarray]) -> Canaries:
    """Ask a model about canaries, to be kept with an adapter::

        adapter.canaries = ask_canaries(adapter, vlm, canary_images(task.train))

    Args:
        adapter: the adapter.
        vlm: its model.
        images: K images (H, W, 3) uint8 of one size.

    Raises:
        CraftZooError: the adapter was made for another model, or the model does not answer.
    """
    logits, anchors, _ = adapter.ask(vlm, list(images), keep=False)
    return Canaries(np.stack(images), logits, anchors)


def check_drift(adapter: Adapter, vlm: VLM, tolerance: float = TOLERANCE) -> Drift:
    """Ask a model about an adapter's canaries again, and compare the answers.

    An answer is the same if its log-probability differs by at most the tolerance, or its
    probability by at most 1e-6 or, where probabilities are rounded, two units of the last decimal.
    A canary that the adapter predicts another class for has changed if the adapter's own
    log-probabilities differ by more than the tolerance.

    Args:
        adapter: the adapter.
        vlm: its model.
        tolerance: of log-probabilities.

    Raises:
        OtherModelError: the adapter was made for another model.
        CraftZooError: the adapter has no canaries.
    """
    before = adapter.canaries
    if before is None:
        raise CraftZooError("the adapter has no canaries: tune again to keep some")
    logits, anchors, local = adapter.ask(vlm, list(before.images), keep=False)
    then, now = log_softmax(before.logits, axis=1), log_softmax(logits, axis=1)
    differences = np.abs(now - then)
    units = 2 * max(_rounding(before.logits), _rounding(logits))
    same = (differences <= tolerance) | (np.abs(np.exp(now) - np.exp(then)) <= max(units, _LEAST))
    deployed = [
        log_softmax(adapter.solution.refine(*answers, local) / adapter.temperature, axis=1)
        for answers in ((before.logits, before.anchors), (logits, anchors))
    ]
    relabelled = deployed[0].argmax(axis=1) != deployed[1].argmax(axis=1)
    moved = np.abs(deployed[1] - deployed[0]).max(axis=1) > tolerance
    changed = bool((~same).any() or (relabelled & moved).any())
    return Drift(differences, int(relabelled.sum()), changed)


def _rounding(logits: np.ndarray) -> float:
    """Unit of the last decimal of answers that are logarithms of rounded probabilities, else 0."""
    probabilities = np.exp(logits.astype(np.float64))
    if probabilities.max() > 1 + _LEAST:
        return 0.0
    for decimals in _DECIMALS:
        units = probabilities * 10.0**decimals
        # A zero stands in the answers as half a unit.
        if np.abs(2 * units - np.round(2 * units)).max() < 10.0 ** (decimals - 6):
            return 10.0**-decimals
    return 0.0
