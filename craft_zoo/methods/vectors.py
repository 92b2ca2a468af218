"""Linear classifiers on vectors of images, as services of embeddings sell them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import log_softmax

from craft_zoo.craft import Step
from craft_zoo.errors import CraftZooError
from craft_zoo.groups import groups_of_classes
from craft_zoo.methods.problem import Problem
from craft_zoo.methods.registry import register_method
from craft_zoo.methods.white_box import local_model, probe_step
from craft_zoo.refiner import ConvexRefiner
from craft_zoo.refiner.folds import Splits, held_out_splits

_STRENGTHS = (10.0, 1.0, 100.0, 1000.0)  # inverse penalties; the first holds for single shots
_FEWEST = 3  # images of each class for the discriminant analysis: without a fold, two remain


@register_method(
    "vectors",
    uses_optimizer=False,
    settings=(),
    queries=lambda *_: 0,
    asks_initial=False,
    deployable=False,
)
def vectors(problem: Problem) -> Iterator[Step]:
    """A linear classifier on the vectors of images that a service sells; makes no queries.

    Shrinkage discriminant analysis or logistic regression, the better by cross-validation.
    """
    check_sells_vectors(problem, "vectors-local")
    return _fitted(problem)


@register_method(
    "vectors-local", uses_optimizer=False, white_box=True, settings=(), deployable=False
)
def vectors_local(problem: Problem) -> Iterator[Step]:
    """White box: as vectors, on the image features of a model on this machine."""
    local_model(problem)
    return _fitted(problem)


def check_sells_vectors(problem: Problem, white_box: str) -> None:
    """Check that the model is a service that sells vectors.

    Args:
        problem: the problem.
        white_box: name of the method for models on this machine.

    Raises:
        CraftZooError: it is not.
    """
    if not problem.vlm.sells_vectors:
        raise CraftZooError(
            f"{problem.vlm.name} sells no vectors: use a model embeddings:, cohere: or voyage:, "
            f"or the white-box method {white_box} for a model on this machine"
        )


def _fitted(problem: Problem) -> Iterator[Step]:
    features, n_classes = problem.vlm.features(problem.images), len(problem.box.classnames)
    probe = fit_vectors(features, problem.labels, n_classes, problem.groups)
    yield probe_step(problem, problem.initial_prompt, probe, features)


def fit_vectors(
    features: np.ndarray, labels: np.ndarray, n_classes: int, groups: np.ndarray | None = None
) -> ConvexRefiner:
    """Fit the better of shrinkage discriminant analysis and logistic regression.

    They are compared by the number of held-out images that they classify correctly, then by their
    cross-entropy. With one or two images of a class it is the logistic regression, as the
    discriminant analysis needs two images of each class in every fold.

    Args:
        features: (N, dim) vectors of images.
        labels: (N,) int64, with every class among them.
        n_classes: C.
        groups: (N,) see :func:`craft_zoo.refiner.held_out_folds`.

    Returns:
        A refiner of logits that are all 0, for which the vectors take the place of anchors.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # takes 1 s, rarely needed
    from sklearn.linear_model import LogisticRegression

    candidates = [LogisticRegression(C=strength, max_iter=500) for strength in _STRENGTHS]
    if groups_of_classes(labels, groups).min() >= _FEWEST:
        candidates.append(LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))
    # A refiner centres its input, and classifiers are fitted to what they will be given.
    x = (features - features.mean(axis=-1, keepdims=True)).astype(np.float64)
    splits = held_out_splits(labels, groups)
    best = candidates[0]
    if splits is not None:
        best = max(candidates, key=lambda each: _held_out(each, x, labels, splits, n_classes))
    weight, bias = _linear(best.fit(x, labels), n_classes)
    own = np.zeros((n_classes, n_classes))
    return ConvexRefiner(np.concatenate([own, weight]).astype(np.float32), bias.astype(np.float32))


def _held_out(
    classifier: Any, x: np.ndarray, labels: np.ndarray, splits: Splits, n_classes: int
) -> tuple[int, float]:
    """Number of correct held-out images, and the negative cross-entropy of all.

    An image that is never held out counts the same for every classifier.
    """
    logits = np.zeros((len(x), n_classes))
    for kept, held in splits:
        weight, bias = _linear(classifier.fit(x[kept], labels[kept]), n_classes)
        logits[held] = x[held] @ weight + bias
    loss = -log_softmax(logits, axis=1)[np.arange(len(x)), labels]
    if not np.isfinite(loss).all():
        return -1, 0.0
    return int((logits.argmax(axis=1) == labels).sum()), -float(loss.sum())


def _linear(model: Any, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight (dim, C) and bias (C,) of a fitted classifier."""
    weight, bias = model.coef_.T, model.intercept_
    if n_classes == 2:  # scikit-learn fits the difference of the two logits
        sides = np.array([-0.5, 0.5])
        return weight * sides, bias * sides
    return weight, bias
