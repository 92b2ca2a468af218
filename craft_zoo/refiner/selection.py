"""Choice of the convex refiner's regularization, by cross-validation on the few shots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy import optimize

from craft_zoo.losses import certainty_loss
from craft_zoo.refiner.convex import (
    CrossEntropy,
    Regularization,
    Scaling,
    centred,
    features,
    fit,
    log_shares,
    solve_path,
)
from craft_zoo.refiner.discriminant import SHRINKAGES, discriminants
from craft_zoo.refiner.folds import (
    Splits,
    calibration_splits,
    held_out_splits,
)
from craft_zoo.refiner.sampling import LARGE, draw_sample, on_sample_if_large
from craft_zoo.tensors import Tensor, log_softmax, negative_log_likelihood, tensor, tensordot

_WHITENINGS = (None, 0.1)
_PENALTIES = [10.0**-k for k in (1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5)]
_STRONGER_PENALTIES = [10.0, 1.0, 10**-0.5]  # for few images of few classes
_NATS_PER_DECADE = 0.2  # of cross-entropy, summed over images, that a weaker penalty must save
_SCALES = [2.0 ** (k / 2) for k in range(-16, 5)]  # inverse temperatures of a part's logits
_UNSCALED = _SCALES.index(1.0)
_SCALE_STD = 0.7  # of the logarithm of the scale of a refiner
_PRIOR_PRECISION = 10.0  # of the weights, in images
_FEW_CLASSES = 9  # up to this number, zero-shot prediction is a part of the sum
_ZERO_SHOT_IMAGES = 2560.0  # C³ times the images that zero-shot prediction of C classes is worth
_ONE_SHOT_VARIANCE = 30.0  # maximum; see _one_shot_variance


def choose_regularization(
    logits: np.ndarray,
    labels: np.ndarray,
    anchors: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Regularization:
    """The logistic regression with the least held-out cross-entropy; min(4, shots) folds.

    Args:
        logits: (N, C) logits of the classes.
        labels: (N,) int64.
        anchors: (N, M) logits of the anchors.
        groups: (N,) see :func:`held_out_folds`.
    """
    return _choose_alone(logits, labels, anchors, groups)[0]


def choose_sum(
    logits: np.ndarray,
    labels: np.ndarray,
    anchors: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Regularization:
    """The sum of logits, logistic regression and discriminants with the least held-out loss.

    Penalty and shrinkage are chosen for each part alone, at the temperature that suits its held-out
    logits; then the weights of the sum, by maximum a posteriori. For a single shot of each class it
    is the logistic regression, with a prior that leaves two or three classes almost as they are.
    The logits themselves have a weight where there are fewer than ten classes.

    Args:
        logits: (N, C) logits of the classes.
        labels: (N,) int64.
        anchors: (N, M) logits of the anchors.
        groups: (N,) see :func:`held_out_folds`.
    """
    return choose_both(logits, labels, anchors, groups)[0]


@on_sample_if_large
def _choose_alone(
    logits: np.ndarray, labels: np.ndarray, anchors: np.ndarray | None, groups: np.ndarray | None
) -> tuple[Regularization, ...]:
    splits = held_out_splits(labels, groups)
    if splits is None:
        return (_one_shot(labels, logits.shape[1], anchors),)
    grid = _Grid(logits, labels, features(logits, anchors), splits, _PENALTIES)
    return (grid.plainest(),)


@on_sample_if_large
def choose_both(
    logits: np.ndarray, labels: np.ndarray, anchors: np.ndarray | None, groups: np.ndarray | None
) -> tuple[Regularization, ...]:
    """Results of :func:`choose_sum` and :func:`choose_regularization`, by one cross-validation."""
    n_classes = logits.shape[1]
    splits = held_out_splits(labels, groups)
    if splits is None:
        variance = _one_shot_variance(logits, anchors is not None)
        summed = Regularization(1 / (len(labels) * variance))
        return summed, _one_shot(labels, n_classes, anchors)
    x, scales = features(logits, anchors), np.ones(2)
    grid = _Grid(logits, labels, x, splits, [*_STRONGER_PENALTIES, *_PENALTIES])
    chosen, scales[0] = grid.scaled()
    shrinkage, scales[1] = _choose_shrinkage(x, labels, n_classes, splits)
    chosen = replace(chosen, shrinkage=shrinkage)
    parts = np.stack(
        [
            held_out_logits(logits, labels, anchors, each, splits)
            for each in (chosen, replace(chosen, weights=(0.0, 0.0, 1.0)))
        ]
    )
    # The mean of the prior: equal weights of both classifiers for many images. From few images,
    # such as two of each of two classes, both learn less than zero-shot prediction knows, and
    # discriminant analysis learns the least.
    share = 0.5 * share_of_evidence(labels)
    mean = [1 - share, share]
    if has_zero_shot := n_classes <= _FEW_CLASSES and bool(logits.any()):
        trust = len(labels) / (len(labels) + _ZERO_SHOT_IMAGES / n_classes**3)
        parts = np.concatenate([logits[None], parts])
        scales = np.array([_zero_shot_scale(logits, labels), *scales])
        mean = [1 - trust, *(trust * each for each in mean)]
    weights = (scales * sum_weights(parts * scales[:, None, None], labels, mean)).tolist()
    given, logistic, discriminant = weights if has_zero_shot else [0.0, *weights]
    return replace(chosen, weights=(given, logistic, discriminant)), grid.plainest()


def held_out_logits(
    logits: np.ndarray,
    labels: np.ndarray,
    anchors: np.ndarray | None,
    regularization: Regularization,
    splits: Splits,
) -> np.ndarray:
    """(N, C) logits of each image, refined by a refiner that was fitted without its fold.

    Images that are never held out, see :func:`held_out_folds`, have logits of 0.

    Args:
        logits: (N, C) logits of the classes.
        labels: (N,) int64.
        anchors: (N, M) logits of the anchors.
        regularization: of the refiners.
        splits: the folds, as from :func:`held_out_splits`.
    """
    refined = np.zeros(logits.shape, np.float32)
    for kept, held in splits:
        of_kept, of_held = (None, None) if anchors is None else (anchors[kept], anchors[held])
        fitted = fit(
            logits[kept],
            labels[kept],
            of_kept,
            regularization=regularization,
        )
        refined[held] = fitted.refine(logits[held], of_held)
    return refined


def calibration_scale(
    logits: np.ndarray,
    labels: np.ndarray,
    anchors: np.ndarray | None,
    regularization: Regularization,
    local: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> float:
    """Factor that gives refined logits the size of their evidence; 1 if nothing can be held out.

    The weights of a refiner of two images a class were chosen for refiners of one, of which the
    discriminants are up to a hundred times smaller. Few images of two or three classes that are all
    classified correctly, too, choose weights that are far too large. Of a large task a sample is
    used, as in :func:`on_sample_if_large`.

    Args:
        logits: (N, C) logits of the classes.
        labels: (N,) int64.
        anchors: (N, M) logits of the anchors.
        regularization: of the refiner.
        local: (N, C) logits of a local classifier that are added to the refiner's, by the splits
            of :func:`calibration_splits`; None: there is none.
        groups: (N,) see :func:`held_out_folds`.
    """
    if logits.size > LARGE:
        logits, labels, anchors, groups, places, factor = draw_sample(
            logits, labels, anchors, groups
        )
        regularization = replace(regularization, penalty=regularization.penalty / factor)
        local = None if local is None else local[places]
    splits = calibration_splits(labels, groups)
    if splits is None:
        return 1.0
    refined = held_out_logits(logits, labels, anchors, regularization, splits)
    if local is not None:
        refined += local
    targets = tensor(labels)
    losses = [
        negative_log_likelihood(logs, targets, "sum") + certainty_loss(logs)
        for logs in _scaled(refined, _SCALES, log_shares(labels, logits.shape[1]))
    ]
    return _SCALES[int(np.argmin(losses + np.log(_SCALES) ** 2 / (2 * _SCALE_STD**2)))]


class _Grid:
    """Held-out losses of logistic regressions by whitening, penalty and scale of their logits.

    Penalties descend. Once two in a row are worse than a stronger one, weaker ones are not tried,
    as losses fall and then rise along the path, and weak penalties take the most iterations.

    Args:
        logits: (N, C) logits of the classes.
        labels: (N,) int64.
        x: (N, K) features.
        splits: the folds.
        penalties: those that are tried.
    """

    def __init__(
        self,
        logits: np.ndarray,
        labels: np.ndarray,
        x: np.ndarray,
        splits: Splits,
        penalties: list[float],
    ) -> None:
        self._penalties = penalties
        self._losses = np.full((len(_WHITENINGS), len(penalties), len(_SCALES)), np.inf)
        n_classes = logits.shape[1]
        shares = log_shares(labels, n_classes)
        for row, whitening in zip(self._losses, _WHITENINGS, strict=True):
            scalings = [
                Scaling.of(x[kept], labels[kept], n_classes, whitening) for kept, _ in splits
            ]
            paths = [
                solve_path(
                    scaling(x[kept]),
                    logits[kept] + log_shares(labels[kept], n_classes),
                    labels[kept],
                    penalties,
                )
                for scaling, (kept, _) in zip(scalings, splits, strict=True)
            ]
            for at, of_scales in enumerate(row):
                of_scales[:] = 0
                for path, scaling, (_, held) in zip(paths, scalings, splits, strict=True):
                    refiner = scaling.refiner(next(path))
                    refined = x[held] @ refiner.weight + refiner.bias + logits[held]
                    of_scales += _losses(refined, labels[held], _SCALES, shares)
                if min(at - row[:, _UNSCALED].argmin(), at - row.min(axis=1).argmin()) >= 2:
                    break

    def scaled(self) -> tuple[Regularization, float]:
        """The regularization and scale of least loss; a decade less penalty must save 0.2 nats."""
        preferred = self._losses - _NATS_PER_DECADE * np.log10(self._penalties)[:, None]
        whitening, penalty, scale = np.unravel_index(preferred.argmin(), preferred.shape)
        chosen = Regularization(self._penalties[int(penalty)], _WHITENINGS[int(whitening)])
        return chosen, _SCALES[int(scale)]

    def plainest(self) -> Regularization:
        """The regularization of least loss at scale 1, among the weaker penalties."""
        first = len(self._penalties) - len(_PENALTIES)
        losses = self._losses[:, first:, _UNSCALED]
        whitening, penalty = np.unravel_index(losses.argmin(), losses.shape)
        return Regularization(_PENALTIES[int(penalty)], _WHITENINGS[int(whitening)])


def _choose_shrinkage(
    x: np.ndarray, labels: np.ndarray, n_classes: int, splits: Splits
) -> tuple[float, float]:
    """Shrinkage of the discriminant analysis, and the best scale of its logits."""
    losses = np.zeros((len(SHRINKAGES), len(_SCALES)))
    shares = log_shares(labels, n_classes)
    for kept, held in splits:
        found = discriminants(x[kept], labels[kept], n_classes)
        for of_scales, (weight, bias) in zip(losses, found, strict=True):
            of_scales += _losses(x[held] @ weight + bias, labels[held], _SCALES, shares)
    shrinkage, scale = np.unravel_index(losses.argmin(), losses.shape)
    return SHRINKAGES[shrinkage], _SCALES[scale]


def _losses(
    logits: np.ndarray, labels: np.ndarray, scales: Sequence[float], shares: np.ndarray
) -> list[float]:
    """Cross-entropy of scaled logits, summed over the images, for each scale."""
    targets = tensor(labels)
    return [
        negative_log_likelihood(logs, targets, "sum") for logs in _scaled(logits, scales, shares)
    ]


def _scaled(logits: np.ndarray, scales: Sequence[float], shares: np.ndarray) -> Iterator[Tensor]:
    """(N, C) log-probabilities of scaled logits plus the classes' shares, for each scale."""
    returned, prior = tensor(logits), tensor(shares)
    for scale in scales:
        yield log_softmax(scale * returned + prior)


def share_of_evidence(labels: np.ndarray) -> float:
    """Share of N images' evidence against that of the prior: N / (N + its precision)."""
    return len(labels) / (len(labels) + _PRIOR_PRECISION)


def sum_weights(parts: np.ndarray, labels: np.ndarray, mean: Sequence[float]) -> np.ndarray:
    """(K,) weights of a sum of logits, at least 0, by maximum a posteriori.

    The prior is normal with the precision of ten images.

    Args:
        parts: (K, N, C) held-out logits of K classifiers.
        labels: (N,) int64.
        mean: (K,) mean of the prior.
    """
    shares = tensor(log_shares(labels, parts.shape[2]))
    logits = tensor(parts.astype(np.float32))
    cross_entropy = CrossEntropy(tensor(labels))
    precision, centre = _PRIOR_PRECISION / len(labels), np.array(mean)

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total = tensordot(tensor(weights.astype(np.float32)), logits, 1)
        loss, slope = cross_entropy(total + shares)
        gradient = np.asarray(tensordot(logits, slope, 2), dtype=np.float64)
        away = weights - centre
        return loss + precision * float(away @ away) / 2, gradient + precision * away

    bounds = [(0, None)] * len(centre)
    return optimize.minimize(objective, centre, jac=True, method="L-BFGS-B", bounds=bounds).x


def _one_shot(labels: np.ndarray, n_classes: int, anchors: np.ndarray | None) -> Regularization:
    """Regularization of the logistic regression where nothing can be held out."""
    variance = _ONE_SHOT_VARIANCE
    if anchors is None:
        variance = min(variance, n_classes**2 / 10)
    return Regularization(1 / (len(labels) * variance))


def _zero_shot_scale(logits: np.ndarray, labels: np.ndarray) -> float:
    """Inverse temperature of zero-shot prediction: the best, but at least half of unit deviation.

    The best alone would be next to 0 if, by chance, few images are predicted wrongly.

    Args:
        logits: (N, C) logits of the classes.
        labels: (N,) int64.
    """
    n_classes = logits.shape[1]
    losses = _losses(logits, labels, _SCALES, log_shares(labels, n_classes))
    freedom = len(logits) * (n_classes - 1)
    deviation = np.sqrt(np.square(centred(logits), dtype=np.float64).sum() / freedom)
    return max(_SCALES[int(np.argmin(losses))], 0.5 / max(float(deviation), 1e-12))


def _one_shot_variance(logits: np.ndarray, with_anchors: bool) -> float:
    """Prior variance of the weights for one shot per class, where nothing can be held out.

    Two images of two classes do not show whether zero-shot prediction confuses the two: with a
    variance of 1, the refiner exchanged them in one draw of seven. Both rules are the weakest with
    which sub-tasks of four data sets rarely fell by 5 points (docs/lab-notebook.md). Without
    anchors, a correction of few classes may also not be much larger than the differences between
    the (N, C) logits.
    """
    n_classes = logits.shape[1]
    if with_anchors:
        return min(_ONE_SHOT_VARIANCE, n_classes**3 / 33)
    variance = min(_ONE_SHOT_VARIANCE, n_classes**4 / 500)
    if n_classes > _FEW_CLASSES:
        return variance
    # A model that answers the same for every image has no differences: 1e-12 leaves it as it is.
    return min(variance, max(n_classes / 2 * float(centred(logits).var(axis=0).sum()), 1e-12))
