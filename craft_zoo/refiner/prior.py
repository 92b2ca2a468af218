"""Class priors: how likely each class is before an image is seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from craft_zoo.errors import CraftZooError
from craft_zoo.refiner.convex import log_shares

UNIFORM, TRAIN = "uniform", "train"


def log_prior(prior: str, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """(C,) float32 logarithms of the classes' probabilities before an image is seen.

    Args:
        prior: ``uniform``, ``train`` (the shares of the training images), or C numbers that are
            proportional to them, separated by commas.
        labels: (N,) int64 of the training images.
        n_classes: C.

    Raises:
        CraftZooError: the prior has not C numbers.
    """
    if prior == UNIFORM:
        return np.zeros(n_classes, np.float32)
    if prior == TRAIN:
        return log_shares(labels, n_classes)
    numbers = numbers_of_prior(prior)
    if len(numbers) != n_classes:
        raise CraftZooError(
            f"the prior has {len(numbers)} numbers and the task {n_classes} classes: give one a "
            f"class, in the order of the classes"
        )
    return np.log(numbers / numbers.sum()).astype(np.float32)


def numbers_of_prior(prior: str) -> np.ndarray:
    """The numbers in a prior such as "0.5,0.3,0.2".

    Raises:
        CraftZooError: it is no list of positive numbers.
    """
    try:
        numbers = np.array([float(number) for number in prior.split(",")])
    except ValueError:
        numbers = np.zeros(1)
    if not (np.isfinite(numbers) & (numbers > 0)).all():
        raise CraftZooError(
            f"setting prior must be {UNIFORM}, {TRAIN}, or a positive number for each class "
            f"separated by commas, not {prior!r}"
        )
    return numbers


def read_prior(given: str, classnames: Sequence[str]) -> str:
    """The prior in a file, in the order of the classes; any other prior as it is.

    Args:
        given: ``uniform``, ``train``, or the path of a file with a line for each class: name, tab,
            and a number that is proportional to its probability.
        classnames: the C class names.

    Raises:
        CraftZooError: the file cannot be read, or its lines are not as described.
    """
    if given in (UNIFORM, TRAIN):
        return given
    try:
        lines = Path(given).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CraftZooError(
            f"the prior {given} (--prior) cannot be read ({error}): give {UNIFORM}, {TRAIN} or a "
            f"file"
        ) from None
    numbers: dict[str, str] = {}
    for line in filter(str.strip, lines):
        name, _, number = line.rpartition("\t")
        if name in numbers or "," in number:
            problem = "twice" if name in numbers else f"with {number!r}, which is no number"
            raise CraftZooError(
                f"the prior {given} (--prior) names {name!r} {problem}: write one line a class, "
                f"'class<tab>number'"
            )
        numbers[name] = number
    for name in classnames:
        if name not in numbers:
            raise CraftZooError(
                f"the prior {given} (--prior) has no line for the class {name!r}: add one"
            )
    for name in numbers:
        if name not in classnames:
            raise CraftZooError(
                f"the prior {given} (--prior) has a line for {name!r}, which is no class: remove "
                f"it, or write 'class<tab>number'"
            )
    prior = ",".join(numbers[name].strip() for name in classnames)
    numbers_of_prior(prior)
    return prior
