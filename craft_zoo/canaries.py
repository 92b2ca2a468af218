"""Canaries: small copies of a few training images, with the model's answers when it was tuned.

The model of an adapter is asked about them again, to find out whether it still answers the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import ImageOps
from scipy.special import log_softmax

from craft_zoo.data.images import ImageSource, open_image
from craft_zoo.data.task import LabelledImages
from craft_zoo.errors import CraftZooError
from craft_zoo.threads import in_threads

if TYPE_CHECKING:
    from craft_zoo.adapter import Adapter
    from craft_zoo.blackbox.base import VLM

COUNT = 8
_SIDE = 64  # pixels
TOLERANCE = 0.01  # of log-probabilities; float32 on different machines differs by less
_LEAST = 1e-6  # difference of probabilities that counts where they are not rounded
_JITTER = 3  # factor of the largest difference of two equal answers that gives the tolerance
_SAME = 1e-5  # difference of log-probabilities that are computed of the same number
_LEVEL = 0.005  # significance of the permutation test: share of unchanged services called changed
_RATIO = 1.5  # least distance of changed noisy answers, relative to that of the first two answers
_LEAST_DISTANCE = 0.01  # least distance of changed noisy answers, as a sum of probabilities


@dataclass(frozen=True)
class Canaries:
    """K images and the answers about them under an adapter's prompt.

    Attributes:
        images: (K, H, W, 3) uint8.
        logits: (K, C) float32, as the model returned them.
        anchors: (K, M) float32 logits of the adapter's anchors; None: it has none.
        logits_again: (K, C) of the same questions, asked a second time, which shows how noisy the
            answers are; None: they were asked once.
        anchors_again: (K, M) of these.
    """

    images: np.ndarray
    logits: np.ndarray
    anchors: np.ndarray | None = None
    logits_again: np.ndarray | None = None
    anchors_again: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Drift:
    """Differences of a model's answers about K canaries from those when the adapter was tuned.

    Attributes:
        differences: (K, C) absolute differences of log-probabilities under the adapter's prompt.
        relabelled: number of canaries that the adapter now predicts another class for.
        changed: whether the model is not the same.
        tolerance: the largest difference of log-probabilities of an unchanged model.
        noise: if answers are noisier than the tolerance, the mean distance of two answers to one
            question when the adapter was tuned, a sum of probabilities in [0, 1]; else None.
        distance: mean distance of the answers now from the mean of those two; None without noise.
    """

    differences: np.ndarray
    relabelled: int
    changed: bool
    tolerance: float
    noise: float | None = None
    distance: float | None = None


def canary_images(shots: LabelledImages) -> list[np.ndarray]:
    """Small copies, (H, W, 3) uint8, of up to :data:`COUNT` images of as many classes as possible.

    Raises:
        CraftZooError: an image cannot be read.
    """
    by_class = np.argsort(shots.labels, kind="stable")
    places = np.linspace(0, len(shots) - 1, min(COUNT, len(shots))).round().astype(int)
    return [_small(shots.images[place]) for place in by_class[places]]


def count_among(canaries: Canaries, images: Sequence[ImageSource]) -> int:
    """Number of canaries whose images are among these.

    Raises:
        CraftZooError: an image cannot be read.
    """
    known = {copy.tobytes() for copy in canaries.images}
    copies = (small.tobytes() for small in in_threads(_small, images))
    return len({copy for copy in copies if copy in known})  # a set of all would be large


def _small(image: ImageSource) -> np.ndarray:
    return np.asarray(ImageOps.fit(open_image(image), (_SIDE, _SIDE)))


def ask_canaries(adapter: Adapter, vlm: VLM, images: Sequence[np.ndarray]) -> Canaries:
    """Ask a model about canaries, to be kept with an adapter::

        adapter.canaries = ask_canaries(adapter, vlm, canary_images(task.train))

    A model that bills answers is asked twice, as these may be noisy, see :func:`times_asked`.

    Args:
        adapter: the adapter.
        vlm: its model.
        images: K images (H, W, 3) uint8 of one size.

    Raises:
        CraftZooError: the adapter was made for another model, or the model does not answer.
    """
    logits, anchors, _ = adapter.ask(vlm, list(images), keep=False)
    again: tuple[np.ndarray | None, ...] = ()
    if times_asked(vlm) > 1:
        again = adapter.ask(vlm, list(images), keep=False)[:2]
    return Canaries(np.stack(images), logits, anchors, *again)


def times_asked(vlm: VLM) -> int:
    """How often :func:`ask_canaries` asks a model about each canary.

    Vectors are asked for once, as their client keeps that of each image.
    """
    return 2 if vlm.bills and not vlm.sells_vectors else 1


def check_drift(adapter: Adapter, vlm: VLM, tolerance: float = TOLERANCE) -> Drift:
    """Ask a model about an adapter's canaries again, and compare the answers.

    An answer is the same if its log-probability differs by at most the tolerance, or its
    probability by at most 1e-6 or, where probabilities are rounded, two units of the last decimal.
    A canary that the adapter predicts another class for has changed if the adapter's own
    log-probabilities differ by more than the tolerance.

    If the model was asked twice when the adapter was tuned, the two answers show its noise:

    - They are the same: the tolerance is at least three times their largest difference. If they are
      labels without probabilities, one canary may differ.
    - They are not: the answers now are compared with them by a permutation test. For each canary,
      any of its three answers could be the present one if the model is unchanged, which gives 3^K
      equally likely cases (of more than 8 canaries the first 8 are used). The model has changed if
      its answers are further from the other two than in all but 0.5 % of these cases (for fewer
      than 5 canaries: than in all other cases), and at least 1.5 times as far as the two are from
      each other.

    Args:
        adapter: the adapter.
        vlm: its model.
        tolerance: of log-probabilities.

    Raises:
        OtherModelError: the adapter was made for another model.
        CraftZooError: the adapter has no canaries.
    """
    kept = adapter.canaries
    if kept is None:
        raise CraftZooError("the adapter has no canaries: tune again to keep some")
    logits, anchors, local = adapter.ask(vlm, list(kept.images), keep=False)
    then = _Answers.of(adapter, kept.logits, kept.anchors, local)
    now = _Answers.of(adapter, logits, anchors, local)
    # Adapters of earlier versions do not know the decimals of the answers then.
    decimals = vlm.decimals if adapter.decimals is None else adapter.decimals
    last = 0.0 if decimals is None else 10.0**-decimals
    differences = np.abs(now.logs - then.logs)
    relabelled = int((now.labels != then.labels).sum())
    allowed = 0
    if kept.logits_again is not None:
        again = _Answers.of(adapter, kept.logits_again, kept.anchors_again, local)
        if then.differing(again, tolerance, last).any():
            test = _compare_noisy(then, again, now)
            return Drift(
                differences, relabelled, test.changed, tolerance, test.noise, test.distance
            )
        jitter = np.abs(then.logs - again.logs)
        tolerance = max(tolerance, _JITTER * jitter[jitter <= tolerance].max(initial=0))
        allowed = int(then.are_labels)
    changed = int(then.differing(now, tolerance, last).sum()) > allowed
    return Drift(differences, relabelled, changed, tolerance)


@dataclass(frozen=True)
class _Answers:
    """A model's answers about K canaries.

    Attributes:
        logs: (K, C) log-probabilities under the adapter's prompt.
        deployed: (K, C) log-probabilities of the adapter.
    """

    logs: np.ndarray
    deployed: np.ndarray

    @classmethod
    def of(
        cls,
        adapter: Adapter,
        logits: np.ndarray,
        anchors: np.ndarray | None,
        local: np.ndarray | None,
    ) -> _Answers:
        """Answers from the arguments of :meth:`Solution.refine`."""
        refined = adapter.solution.refine(logits, anchors, local) / adapter.temperature
        return cls(log_softmax(logits, axis=1), log_softmax(refined, axis=1))

    @property
    def labels(self) -> np.ndarray:
        """(K,) classes that the adapter predicts."""
        return self.deployed.argmax(axis=1)

    @property
    def are_labels(self) -> bool:
        """Whether they look like labels that were answered without probabilities.

        Each of several answers then has the same two probabilities, a larger one for one class.
        """
        if min(self.logs.shape) < 2:  # a single image or class shows nothing
            return False
        ordered = np.sort(self.logs, axis=1)
        others, largest = ordered[:, :-1], ordered[:, -1]
        alike = np.ptp(others) < _SAME and np.ptp(largest) < _SAME
        return bool(alike and largest[0] - others[0, 0] > _SAME)

    @property
    def probabilities(self) -> np.ndarray:
        """(K, 2, C) under the adapter's prompt, and of the adapter."""
        return np.exp(np.stack([self.logs, self.deployed], axis=1))

    def differing(self, other: _Answers, tolerance: float, last: float) -> np.ndarray:
        """(K,) whether each canary is answered otherwise, see :func:`check_drift`.

        Args:
            other: the other answers.
            tolerance: of log-probabilities.
            last: unit of the last decimal of the probabilities; 0: they are not rounded.
        """
        units = max(2 * last, _LEAST)
        same = np.abs(self.logs - other.logs) <= tolerance
        same |= np.abs(np.exp(self.logs) - np.exp(other.logs)) <= units
        moved = np.abs(self.deployed - other.deployed).max(axis=1) > tolerance
        return ~same.all(axis=1) | ((self.labels != other.labels) & moved)


class _Noisy(NamedTuple):
    changed: bool
    noise: float
    distance: float


def _compare_noisy(then: _Answers, again: _Answers, now: _Answers) -> _Noisy:
    """The permutation test of :func:`check_drift`."""
    # A file may have more canaries, whose cases would fill the memory.
    three = np.stack([each.probabilities[:COUNT] for each in (then, again, now)])
    others = (three.sum(axis=0) - three) / 2
    # (3, K): how far each answer is from the mean of the two others.
    far = np.abs(three - others).sum(axis=-1).mean(axis=-1) / 2
    noise = float(np.abs(three[0] - three[1]).sum(axis=-1).mean() / 2)
    sums = reduce(np.add.outer, far.T).ravel()  # of all cases
    observed = far[2].sum()
    share = float((sums >= observed - 1e-9).mean())
    distance = float(far[2].mean())
    is_far = distance >= max(_LEAST_DISTANCE, _RATIO * noise)
    return _Noisy(is_far and share <= max(_LEVEL, 3.0 ** -far.shape[1]), noise, distance)
