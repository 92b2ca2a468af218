"""Choice of the refiner's regularization, on a sample of large tasks, and fits that end early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from craft_zoo.craft import RefinerFitter
from craft_zoo.errors import CraftZooWarning
from craft_zoo.refiner import (
    Regularization,
    calibration_scale,
    choose_both,
    choose_regularization,
    choose_sum,
    convex,
    fit,
    sampling,
    selection,
)
from craft_zoo.refiner.folds import held_out_splits

CHOICES = pytest.mark.parametrize("choose", [choose_sum, choose_regularization])


def _task(n_classes: int, shots: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = np.arange(n_classes).repeat(shots)
    logits = rng.standard_normal((len(labels), n_classes)) + 2 * np.eye(n_classes)[labels]
    return logits.astype(np.float32), labels


@CHOICES
def test_a_large_tasks_choice_is_that_of_its_sample(
    choose: Callable[..., Regularization], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, labels = _task(12, 3)
    rows, classes = np.flatnonzero(labels < 6), np.arange(6)
    expected = choose(logits[np.ix_(rows, classes)], labels[rows], logits[rows])
    monkeypatch.setattr(sampling, "LARGE", 12 * 36 - 1)
    monkeypatch.setattr(sampling, "_sample", lambda *_: (rows, classes))
    with pytest.warns(CraftZooWarning, match="of 12 classes: .* chosen on 18 images of 6 of them"):
        chosen = choose(logits, labels, logits)
    # Half of the images, with features of two thirds of the squared length: the same prior.
    penalty = expected.penalty / 2 * 12 / 18
    assert chosen == replace(expected, penalty=pytest.approx(penalty, rel=0.2))


@CHOICES
def test_other_tasks_are_not_sampled(
    choose: Callable[..., Regularization], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither those of at most 2^20 logits, nor one shot a class, whose choice takes no time."""
    monkeypatch.setattr(sampling, "_sample", None)
    monkeypatch.setattr(sampling, "LARGE", 5 * 10)
    choose(*_task(5, 2))
    choose(*_task(12, 1))


def test_a_large_task_of_two_images_a_class_is_calibrated_on_its_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits, labels = _task(12, 2)
    rows, classes = np.flatnonzero(labels < 6), np.arange(6)
    few = logits[np.ix_(rows, classes)], labels[rows], logits[rows]
    whole = Regularization(1e-4, weights=(0.0, 8.0, 1.0))
    monkeypatch.setattr(sampling, "_sample", lambda *_: (rows, classes))
    penalty = whole.penalty / sampling.draw_sample(logits, labels, logits).penalty_factor
    expected = calibration_scale(*few, replace(whole, penalty=penalty))
    monkeypatch.setattr(selection, "LARGE", 12 * 24 - 1)
    assert calibration_scale(logits, labels, logits, whole) == expected < 1


def test_a_large_tasks_fit_ends_earlier_near_the_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = _task(12, 8)

    def loss() -> float:
        refiner = fit(logits, labels, regularization=Regularization(1e-4))
        targets = torch.from_numpy(labels)
        return float(F.cross_entropy(torch.from_numpy(refiner.refine(logits)), targets))

    exact = loss()
    monkeypatch.setattr(convex, "_LEAST_DECREASE", 1.0)
    assert exact < loss() < 1.1 * exact


def test_samples_have_all_classes_alike_and_are_bounded() -> None:
    for n_classes, shots in ((1000, 4), (1000, 16), (397, 40), (5, 60_000)):
        labels = np.arange(n_classes).repeat(shots)
        rows, classes = sampling._sample(labels, n_classes)
        assert 2**16 < len(rows) * len(classes) <= sampling._SAMPLE
        counts = np.bincount(labels[rows], minlength=n_classes)
        assert set(counts[classes]) == {len(rows) // len(classes)}
        assert counts.sum() == len(rows) == len(np.unique(rows))
        assert n_classes > 90 or len(classes) == n_classes


def test_one_cross_validation_gives_both_choices() -> None:
    task = _task(6, 8)
    summed, alone = choose_both(*task)
    assert (summed, alone) == (choose_sum(*task), choose_regularization(*task))
    assert summed.weights != alone.weights


def test_penalties_far_weaker_than_the_best_are_not_tried() -> None:
    logits, labels = _task(6, 8)
    splits = held_out_splits(labels)
    assert splits is not None
    grid = selection._Grid(logits, labels, logits, splits, selection._PENALTIES)
    tried = np.isfinite(grid._losses).all(axis=2)
    assert tried[:, :3].all()
    assert not tried[:, -1].any()


def test_a_refiner_is_fitted_from_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """From its logistic regression, not from its sum with discriminants."""
    logits, labels = _task(6, 8)
    calls: list[None] = []
    cross_entropy = convex.CrossEntropy.__call__

    def counted(self: convex.CrossEntropy, returned: torch.Tensor) -> tuple[float, torch.Tensor]:
        calls.append(None)
        return cross_entropy(self, returned)

    fitter = RefinerFitter(labels=labels, classnames=(), discriminant=True, initial_answer=True)
    first = fitter.fit(logits)
    monkeypatch.setattr(convex.CrossEntropy, "__call__", counted)
    again = fitter.fit(logits)
    assert len(calls) < 8
    assert np.allclose(again.weight, first.weight, atol=0.01)
