"""Evaluation of an adapter on labelled images: accuracy, confusion, calibration, abstaining."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox.base import VLM, Asked, Progress
from craft_zoo.blackbox.usage import Usage
from craft_zoo.canaries import count_among
from craft_zoo.data.images import ImageSource
from craft_zoo.data.task import Dataset, LabelledImages, Task
from craft_zoo.errors import CraftZooError, CraftZooWarning, check_kind
from craft_zoo.losses import certainty_loss
from craft_zoo.metrics import accuracy, calibration_error, interval, predicted
from craft_zoo.predictor import Predictor
from craft_zoo.printable import printable

_PRIOR_STD = 0.5  # of the logarithm of the temperature
# Share of the labels that are taken to be drawn at random when the temperature is fitted: one wrong
# label of an image that the adapter is sure of would make all probabilities nearly equal.
_WRONG_LABELS = 0.001
_NAMED = 3  # unknown classes that an error message names


@dataclass(frozen=True)
class ClassResult:
    """Result of an adapter on the images of one class.

    Attributes:
        name: the class name.
        images: number of its images.
        correct: number of them that are classified correctly.
        predicted: number of images of any class that are classified as it.
        taken_for: the class that its other images are most often taken for; None: there is none.
    """

    name: str
    images: int
    correct: int
    predicted: int
    taken_for: str | None

    @property
    def recall(self) -> float:
        """Share of its images that are classified correctly; NaN without images."""
        return self.correct / self.images if self.images else float("nan")

    @property
    def precision(self) -> float:
        """Share of the images classified as it that are of it; NaN if there are none."""
        return self.correct / self.predicted if self.predicted else float("nan")


@dataclass(frozen=True)
class Abstaining:
    """Accuracy if only the most confident predictions are given.

    Attributes:
        coverage: share of the images that are classified.
        threshold: smallest probability of a class that is given.
        accuracy: accuracy on the classified images.
    """

    coverage: float
    threshold: float
    accuracy: float

    @property
    def threshold_text(self) -> str:
        """The threshold in four decimals, rounded down so that it keeps all of these images."""
        return f"{math.floor(1e4 * self.threshold) / 1e4:.4f}"


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Answers of an adapter, and of the model without it, about N labelled images of K classes.

    The sum of two evaluations is that of both sets of images.

    Attributes:
        classnames: the K class names.
        labels: (N,) int64.
        logits: (N, K) of the adapter.
        zero_shot: (N, K) of the model under the initial prompt.
        temperature: the adapter's, which divides the logits; 1: it has none.
        transductive: whether the images were classified together.
        others: (N, M) logits of the adapter for its M other classes, of which the images are not.
            All figures but :attr:`accuracy_of_all` and :meth:`fit_temperature` leave these out.
    """

    classnames: tuple[str, ...]
    labels: np.ndarray
    logits: np.ndarray
    zero_shot: np.ndarray
    temperature: float = 1.0
    transductive: bool = False
    others: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def __add__(self, other: Evaluation) -> Evaluation:
        return Evaluation(
            self.classnames,
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.logits, other.logits]),
            np.concatenate([self.zero_shot, other.zero_shot]),
            self.temperature,
            self.transductive,
            np.concatenate([self.others, other.others]),
        )

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{100 * self.accuracy:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f}), "
            f"zero-shot {100 * self.zero_shot_accuracy:.1f} %"
        )

    def __repr__(self) -> str:
        return f"<Evaluation on {len(self):,} images: {self}>"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def probabilities(self) -> np.ndarray:
        """(N, K) class probabilities."""
        return softmax(self.logits / self.temperature, axis=1)

    @property
    def predicted(self) -> np.ndarray:
        """(N,) indices of the predicted classes, see :func:`craft_zoo.metrics.predicted`."""
        return predicted(self.logits)

    @property
    def answered(self) -> np.ndarray:
        """(N,) whether an image has a class, which a service refused to give to the others."""
        return self.predicted >= 0

    @property
    def accuracy(self) -> float:
        """Share of the images that are classified correctly."""
        return accuracy(self.logits, self.labels)

    @property
    def accuracy_of_all(self) -> float:
        """Share of the images classified correctly among all of the adapter's classes.

        It is that of :meth:`Adapter.predict`, and lower than :attr:`accuracy` if some of the
        images are taken for classes of which there are none among them.
        """
        return accuracy(self._of_all, self.labels)

    @property
    def _of_all(self) -> np.ndarray:
        """(N, K + M) logits of all of the adapter's classes."""
        return np.hstack([self.logits, self.others]) if self.others.size else self.logits

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        return interval(int((self.predicted == self.labels).sum()), len(self))

    @property
    def zero_shot_accuracy(self) -> float:
        """Share of the images that the model classifies correctly under the initial prompt."""
        return accuracy(self.zero_shot, self.labels)

    @property
    def confusion(self) -> np.ndarray:
        """(K, K) numbers of images: of a class (row) that are classified as another (column).

        It has the images that are :attr:`answered`.
        """
        counts = np.zeros((len(self.classnames),) * 2, np.int64)
        given = self.answered
        np.add.at(counts, (self.labels[given], self.predicted[given]), 1)
        return counts

    @property
    def classes(self) -> list[ClassResult]:
        """A result for each class, in their order."""
        confusion, results = self.confusion, []
        images = np.bincount(self.labels, minlength=len(confusion)).tolist()
        for place, (name, row) in enumerate(zip(self.classnames, confusion, strict=True)):
            wrong = row.copy()
            wrong[place] = 0
            other = self.classnames[wrong.argmax()] if wrong.any() else None
            taken = int(confusion[:, place].sum())
            results.append(ClassResult(name, images[place], int(row[place]), taken, other))
        return results

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, see :func:`craft_zoo.metrics.calibration_error`.

        It is that of the images that are :attr:`answered`.
        """
        return calibration_error(self.probabilities[self.answered], self.labels[self.answered])

    def fit_temperature(self) -> float:
        """Temperature with which the probabilities of these images have the least cross-entropy.

        A normal prior of its logarithm, around 0 with a standard deviation of 1/2, keeps it from
        extremes where there are few images, as does :func:`craft_zoo.losses.certainty_loss` where
        few are all classified correctly. One label in a thousand is taken to be drawn at random, so
        that a wrong one has a bounded effect. To calibrate an adapter, evaluate it on
        images that it was not tuned on and that are no test images, and set
        :attr:`Adapter.temperature`.
        """

        logits, places = self._of_all.astype(np.float64), np.arange(len(self))

        def objective(log_temperature: float) -> float:
            logs = log_softmax(logits / np.exp(log_temperature), axis=1)
            of_label = np.exp(logs[places, self.labels])
            likelihood = (1 - _WRONG_LABELS) * of_label + _WRONG_LABELS / logits.shape[1]
            prior = log_temperature**2 / (2 * _PRIOR_STD**2)
            return float(prior - np.log(likelihood).sum()) + certainty_loss(logs)

        return float(np.exp(minimize_scalar(objective, bounds=(-4, 4), method="bounded").x))

    @property
    def surest_first(self) -> np.ndarray:
        """(N,) places of the images, by descending probability of the predicted class."""
        return np.argsort(-self.probabilities.max(axis=1), kind="stable")

    @property
    def mistakes(self) -> np.ndarray:
        """Places of the images that are taken for another class, the surest first."""
        order = self.surest_first
        given = self.predicted[order]
        return order[(given >= 0) & (given != self.labels[order])]

    @property
    def accuracy_of_surest(self) -> np.ndarray:
        """(N,) accuracy on the 1, 2, …, N images with the largest probabilities."""
        correct = (self.predicted == self.labels)[self.surest_first]
        return np.cumsum(correct) / np.arange(1, len(self) + 1)

    def abstain(self, coverage: float) -> Abstaining:
        """Classify only a share of the images: those with the largest probabilities.

        Args:
            coverage: the share, in (0, 1].

        Raises:
            CraftZooError: the share is out of range.
        """
        check_coverage(coverage)
        kept = max(1, round(coverage * len(self)))
        threshold = float(self.probabilities[self.surest_first[kept - 1]].max())
        return Abstaining(kept / len(self), threshold, float(self.accuracy_of_surest[kept - 1]))


def check_coverage(coverage: float) -> None:
    """Check the share of images that are classified.

    Raises:
        CraftZooError: it is not in (0, 1].
    """
    if not 0 < coverage <= 1:
        raise CraftZooError(f"the coverage must be above 0 and at most 1, not {coverage:g}")


def evaluate(
    adapter: Adapter,
    vlm: VLM,
    data: Dataset | Task | LabelledImages,
    progress: Progress | None = None,
    *,
    transductive: bool = False,
) -> Evaluation:
    """Evaluate an adapter, and the model without it, on labelled images::

        evaluation = evaluate(adapter, load_vlm(adapter.model), load_dataset("folder:pets"))
        print(evaluation.accuracy, evaluation.interval, evaluation.calibration_error)

    Costs what :func:`expected_usage` says, not counted by any meter. Warns if images that the
    adapter was tuned on, of which it keeps small copies, are among them.

    Args:
        adapter: the adapter.
        vlm: its model.
        data: a data set or task, whose test images are used, with all of the adapter's classes or
            some of them, among which alone it then chooses (but see
            :attr:`Evaluation.accuracy_of_all`); or images with labels in the order of the adapter's
            class names.
        progress: called while the model encodes the images.
        transductive: classify the images together, see :meth:`Adapter.refine`.

    Raises:
        CraftZooError: a class is not among the adapter's, there are no images, the adapter was made
            for another model or cannot classify images together, or an image cannot be read.
    """
    if transductive:
        adapter.check_transductive()
    classnames, images = labelled(adapter.classnames, data)
    check_kind("vlm", vlm, VLM, 'load_vlm("craft-mini")')
    handed, box = vlm.images(images.images, progress), adapter.open(vlm)
    asked = Predictor(vlm, box, handed).ask(adapter.solution)
    zero_shot = box.score(box.initial_prompt, handed)
    columns = [adapter.classnames.index(name) for name in classnames]
    logits = adapter.refine(*asked, transductive=transductive)
    if adapter.canaries is not None and (known := count_among(adapter.canaries, images.images)):
        warnings.warn(
            f"the adapter was tuned on some of these images ({known} of {len(adapter.canaries)} "
            f"training images that it keeps are among them), so that the accuracy is too high: "
            f"split the images into train/ and test/ before tuning",
            CraftZooWarning,
            stacklevel=2,
        )
    return Evaluation(
        tuple(classnames),
        images.labels,
        logits[:, columns],
        zero_shot[:, columns],
        adapter.temperature,
        transductive,
        np.delete(logits, columns, axis=1),
    )


def labelled(
    known: Sequence[str], data: Dataset | Task | LabelledImages
) -> tuple[Sequence[str], LabelledImages]:
    """Class names and images on which :func:`evaluate` evaluates an adapter.

    Args:
        known: the adapter's class names.
        data: see :func:`evaluate`.

    Raises:
        CraftZooError: a class is not among the adapter's, or there are no images.
    """
    if isinstance(data, LabelledImages):
        name, classnames, images = "the data", known, data
        if len(images) and images.labels.max() >= len(known):
            raise CraftZooError(
                f"label {images.labels.max()} is none of the adapter's {len(known)} classes: "
                f"give labels in the order of adapter.classnames"
            )
    elif isinstance(data, Dataset | Task):
        name, classnames, images = data.name, data.classnames, data.test
    else:
        raise CraftZooError(
            f"an adapter is evaluated on a Dataset, a Task or LabelledImages, not on "
            f"{type(data).__name__}: open one, load_dataset('folder:pets')"
        )
    if unknown := [each for each in classnames if each not in known]:
        names = ", ".join(map(printable, unknown[:_NAMED])) + ", …" * (len(unknown) > _NAMED)
        raise CraftZooError(
            f"{printable(name)} has {len(unknown)} of {len(classnames)} classes for which the "
            f"adapter was not tuned ({names}): name a data set with its classes, or tune anew"
        )
    if not len(images):
        raise CraftZooError(f"{printable(name)} has no test images: name another data set")
    return classnames, images


def expected_usage(adapter: Adapter, vlm: VLM, images: LabelledImages) -> Usage:
    """Usage that a service is expected to bill for evaluating an adapter on N images.

    It is one prediction for each image and prompt: the adapter's, the initial one, and those of
    the anchors.
    """
    return deployed_usage(adapter, vlm, images.images, prompts=2)


def deployed_usage(
    adapter: Adapter, vlm: VLM, images: Sequence[ImageSource], prompts: int = 1
) -> Usage:
    """Usage that a service is expected to bill for N images that an adapter classifies.

    Args:
        adapter: the adapter.
        vlm: its model.
        images: the images.
        prompts: number of prompts of the classes: the adapter's, then the initial one.
    """
    box, solution = adapter.open(vlm), adapter.solution
    predictions = (prompts - 1 + solution.billed_predictions) * len(images)
    if not vlm.counts_usage:
        return Usage(predictions)
    own = box.template if isinstance(solution.prompt, np.ndarray) else solution.prompt
    asked = [Asked((own,)), *[Asked((box.template,))] * (prompts - 1)]
    if solution.anchors is not None:
        asked.append(Asked(tuple(solution.anchors.prompts), solution.anchors.texts))
    usage = vlm.expected_usage(asked, images, adapter.classnames, adapter.init)
    return usage + Usage(predictions - usage.predictions)
