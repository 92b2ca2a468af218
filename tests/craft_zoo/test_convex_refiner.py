"""The convex refiner: optimal, invariant to constants, regularized by held-out shots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from torch.nn import functional as F

from craft_zoo.errors import CraftZooError
from craft_zoo.refiner import (
    ConvexRefiner,
    Regularization,
    calibration_scale,
    choose_regularization,
    choose_sum,
    fit,
    held_out_folds,
    held_out_logits,
)
from craft_zoo.refiner.convex import Scaling, features, solve_path
from craft_zoo.refiner.discriminant import SHRINKAGES, discriminants
from craft_zoo.refiner.folds import calibration_splits, held_out_splits
from craft_zoo.refiner.prior import log_prior, read_prior


def problem(
    seed: int, *, shots: int = 6, n_classes: int = 4, n_anchors: int = 5, noise: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits with little information on the classes, anchors with more, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_classes), shots)
    logits = rng.standard_normal((len(labels), n_classes))
    places = 2 * rng.standard_normal((n_classes, n_anchors))
    anchors = places[labels] + noise * rng.standard_normal((len(labels), n_anchors))
    return logits.astype(np.float32), labels, anchors.astype(np.float32)


@given(
    seed=st.integers(0, 10_000),
    penalty=st.sampled_from([1.0, 1e-2, 1e-4]),
    whitening=st.sampled_from([None, 0.1]),
)
@settings(max_examples=30, deadline=None)
def test_it_is_the_optimum(seed: int, penalty: float, whitening: float | None) -> None:
    """No step of plain gradient descent from it lowers the penalised loss noticeably."""
    logits, labels, anchors = problem(seed)
    x = features(logits, anchors)
    scaled = torch.from_numpy(Scaling.of(x, labels, 4, whitening)(x))
    solution = next(solve_path(scaled.numpy(), logits, labels, [penalty]))
    weight = torch.from_numpy(solution).requires_grad_()
    loss = F.cross_entropy(torch.from_numpy(logits) + scaled @ weight, torch.from_numpy(labels))
    loss = loss + penalty / 2 * weight.square().sum()
    loss.backward()
    # A strongly convex function lies above its value less |gradient|² / 2 penalty.
    reachable = float(weight.grad.square().sum()) / (2 * penalty)
    assert reachable < 5e-3 * (1 + float(loss.detach()))


@given(seed=st.integers(0, 10_000), shots=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_constants_an_image_change_nothing(seed: int, shots: int) -> None:
    """Log-probabilities are logits up to a constant an image: the same probabilities follow."""
    logits, labels, anchors = problem(seed, shots=shots)
    rng = np.random.default_rng(seed)
    shift, other = rng.standard_normal((2, len(labels), 1)).astype(np.float32)
    regularization = Regularization(0.01)
    probabilities = [
        torch.from_numpy(
            fit(own, labels, beside, regularization=regularization).refine(own, beside)
        )
        .softmax(-1)
        .numpy()
        for own, beside in ((logits, anchors), (logits + shift, anchors + other))
    ]
    assert np.allclose(*probabilities, atol=0.01)


def test_a_strong_penalty_leaves_the_logits_as_they_are() -> None:
    logits, labels, anchors = problem(1)
    refined = fit(logits, labels, anchors, regularization=Regularization(1e6)).refine(
        logits, anchors
    )
    bias = (refined - logits).mean(axis=0)
    assert np.allclose(refined - logits, bias, atol=1e-3)


def test_weak_where_the_features_are_clear_strong_where_they_are_noise() -> None:
    logits, labels, anchors = problem(3, shots=8, noise=0.05)
    clear = choose_regularization(logits, labels, anchors)
    noise = np.random.default_rng(0).standard_normal(anchors.shape).astype(np.float32)
    good = 2 * np.eye(4, dtype=np.float32)[labels] + logits  # needs no correction, but is not sure
    assert clear.penalty <= 1e-3
    assert choose_regularization(good, labels, noise).penalty >= 10 * clear.penalty


@given(
    seed=st.integers(0, 10_000),
    shots=st.integers(1, 5),
    shrinkage=st.sampled_from(SHRINKAGES),
    n_features=st.integers(1, 30),
)
@settings(max_examples=30, deadline=None)
def test_discriminants_are_gaussian_log_posteriors(
    seed: int, shots: int, shrinkage: float, n_features: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(3), shots))
    x = 5 + rng.standard_normal((len(labels), n_features)) + labels[:, None]
    [(weight, bias)] = discriminants(x, labels, 3, [shrinkage])
    means = np.stack([x[labels == label].mean(axis=0) for label in range(3)])
    around = x - (means[labels] if shots > 1 else x.mean(axis=0))
    within = around.T @ around / max(len(x) - (3 if shots > 1 else 1), 1)
    scale = max(np.trace(within) / n_features, 1e-12)
    covariance = (1 - shrinkage) * within + shrinkage * scale * np.eye(n_features)
    away = x[:, None] - means
    expected = -np.einsum("nck,nck->nc", away @ np.linalg.inv(covariance), away) / 2
    found = log_softmax(x @ weight + bias, axis=1)
    np.testing.assert_allclose(found, log_softmax(expected, axis=1), atol=1e-6, rtol=1e-6)


@given(
    seed=st.integers(0, 10_000),
    weights=st.sampled_from([(0.7, 0.5, 0.3), (1.5, 0.0, 1.0), (0.0, 2.0, 0.0), (1.0, 0.0, 0.0)]),
)
@settings(max_examples=10, deadline=None)
def test_the_refiner_is_the_weighted_sum_of_its_parts(
    seed: int, weights: tuple[float, float, float]
) -> None:
    logits, labels, anchors = problem(seed)
    parts = [
        fit(logits, labels, anchors, regularization=Regularization(0.01, None, 0.2, one))
        for one in ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), weights)
    ]
    logistic, discriminant, both = (
        log_softmax(part.refine(logits, anchors).astype(float), axis=1) for part in parts
    )
    sums = weights[0] * logits + weights[1] * logistic + weights[2] * discriminant
    expected = log_softmax(sums, axis=1)
    np.testing.assert_allclose(both, expected, atol=1e-4)


def test_the_discriminant_analysis_has_a_weight_where_it_helps() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((40, 40))  # one covariance for all classes, far from round
    labels = np.repeat(np.arange(5), 8)
    places = rng.standard_normal((5, 40)) @ mixing / 2
    x = (places[labels] + rng.standard_normal((40, 40)) @ mixing).astype(np.float32)
    nothing = np.zeros((40, 5), np.float32)
    chosen = choose_sum(nothing, labels, x)
    assert chosen.weights[0] == 0 < chosen.weights[2]
    assert choose_regularization(nothing, labels, x).weights == (0.0, 1.0, 0.0)
    new = np.repeat(places, 40, axis=0) + rng.standard_normal((200, 40)) @ mixing
    right = {}
    for name, each in (("sum", chosen), ("logistic", replace(chosen, weights=(0.0, 1.0, 0.0)))):
        refiner = fit(nothing, labels, x, regularization=each)
        refined = refiner.refine(np.zeros((200, 5)), new)
        right[name] = (refined.argmax(1) == np.repeat(np.arange(5), 40)).mean()
    assert right["sum"] > right["logistic"]


def test_anchors_tell_what_the_classes_do_not() -> None:
    logits, labels, anchors = problem(5, shots=16)
    kept = np.arange(len(labels)) % 2 == 0
    right = {}
    for name, beside in (("own", None), ("anchors", anchors)):
        chosen = None if beside is None else beside[kept]
        regularization = choose_regularization(logits[kept], labels[kept], chosen)
        refiner = fit(logits[kept], labels[kept], chosen, regularization=regularization)
        refined = refiner.refine(logits[~kept], None if beside is None else beside[~kept])
        right[name] = (refined.argmax(1) == labels[~kept]).mean()
    assert right["anchors"] > right["own"] + 0.3


@pytest.mark.parametrize(
    ("choose", "n_classes", "variance", "with_anchors"),
    [
        (choose_sum, 2, 0.032, 0.242),
        (choose_sum, 10, 20, 30),
        (choose_sum, 100, 30, 30),
        (choose_regularization, 2, 0.4, 30),
        (choose_regularization, 10, 10, 30),
    ],
)
def test_a_single_shot_is_not_held_out(
    choose: Callable[..., Regularization], n_classes: int, variance: float, with_anchors: float
) -> None:
    """The fewer classes, the less a single image of each is trusted."""
    assert held_out_folds(np.arange(3)) is None
    logits, labels, anchors = problem(1, shots=1, n_classes=n_classes)
    assert choose(logits, labels).penalty == pytest.approx(1 / (n_classes * variance), rel=1e-2)
    assert choose(logits, labels, anchors).penalty == pytest.approx(
        1 / (n_classes * with_anchors), rel=1e-2
    )


def test_a_model_that_answers_all_images_alike_stays_as_it_is() -> None:
    logits, labels = np.tile(np.array([0, 9, 0], np.float32), (3, 1)), np.arange(3)
    refiner = fit(logits, labels, regularization=choose_sum(logits, labels))
    np.testing.assert_allclose(refiner.refine(logits), logits, atol=1e-6)


@given(shots=st.integers(2, 9), n_classes=st.integers(2, 6))
def test_every_fold_leaves_each_class_an_image(shots: int, n_classes: int) -> None:
    labels = np.tile(np.arange(n_classes), shots)
    folds = held_out_folds(labels)
    assert folds is not None
    for fold in range(folds.max() + 1):
        assert set(labels[folds != fold]) == set(range(n_classes))
        assert set(labels[folds == fold]) == set(range(n_classes))


def test_a_single_image_of_a_class_stays_in_every_fold() -> None:
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 2])
    folds = held_out_folds(labels)
    assert folds is not None
    assert folds.tolist() == [0, 1, 2, 3, 0, 0, 1, 2, 3, -1]
    # With one class of three, the held-out images say nothing of the other two.
    assert held_out_folds(np.array([0, 0, 0, 1, 2])) is None
    logits = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)
    refined = held_out_logits(logits, labels, None, Regularization(0.1), held_out_splits(labels))
    assert not refined[9].any()
    kept = folds != 1
    refiner = fit(logits[kept], labels[kept], regularization=Regularization(0.1))
    assert refined[1] == pytest.approx(refiner.refine(logits[1]), abs=1e-6)


@pytest.mark.parametrize("choose", [choose_sum, choose_regularization])
def test_the_number_of_images_of_a_class_is_not_learnt(
    choose: Callable[..., Regularization],
) -> None:
    rng = np.random.default_rng(1)
    places = 1.5 * rng.standard_normal((5, 8))
    counts = [20, 20, 10, 5, 3]

    def drawn(labels: np.ndarray) -> np.ndarray:
        return (places[labels] + rng.standard_normal((len(labels), 8))).astype(np.float32)

    labels, new = np.repeat(np.arange(5), counts), np.repeat(np.arange(5), 200)
    x, nothing = drawn(labels), np.zeros((58, 5), np.float32)
    refiner = fit(nothing, labels, x, regularization=choose(nothing, labels, x))
    predicted = refiner.refine(np.zeros((1000, 5), np.float32), drawn(new)).argmax(axis=1)
    right = [(predicted[new == label] == label).mean() for label in range(5)]
    assert right[4] > 0.9  # below 0.75 where the shares of the shots are learnt
    assert min(right) > 0.7


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        ("uniform", [1, 1, 1]),
        ("train", [0.5, 0.25, 0.25]),
        ("3,1,6", [0.3, 0.1, 0.6]),
    ],
)
def test_priors_of_the_classes(prior: str, expected: list[float]) -> None:
    assert np.exp(log_prior(prior, np.array([0, 0, 1, 2]), 3)) == pytest.approx(expected)


def test_a_file_of_priors(tmp_path: Path) -> None:
    path = tmp_path / "prior.txt"
    path.write_text("dog\t1\nred cat\t3\n")
    assert read_prior(str(path), ["red cat", "dog"]) == "3,1"
    assert read_prior("train", ["red cat", "dog"]) == "train"
    for classes, error in (
        (["red cat", "dog", "cow"], "no line for the class 'cow'"),
        (["dog"], "line for 'red cat', which is no class"),
    ):
        with pytest.raises(CraftZooError, match=error):
            read_prior(str(path), classes)
    path.write_text("dog\t-1\nred cat\tthree\n")
    with pytest.raises(CraftZooError, match="a positive number for each class"):
        read_prior(str(path), ["red cat", "dog"])
    for lines, error in (("dog\t1,2", "'1,2', which is no number"), ("dog\t1\ndog\t2", "twice")):
        path.write_text(lines)
        with pytest.raises(CraftZooError, match=error):
            read_prior(str(path), ["dog"])
    with pytest.raises(CraftZooError, match="cannot be read"):
        read_prior(str(tmp_path / "none"), ["dog"])
    with pytest.raises(CraftZooError, match="2 numbers and the task 3 classes"):
        log_prior("3,1", np.arange(3), 3)


def test_anchors_that_are_missing_or_too_many_are_named() -> None:
    refiner = ConvexRefiner(np.zeros((5, 3), np.float32), np.zeros(3, np.float32))
    with pytest.raises(CraftZooError, match="fitted with 2 anchor logits and is given 0"):
        refiner.refine(np.zeros((4, 3), np.float32))
    with pytest.raises(CraftZooError, match="is given 4"):
        refiner.refine(np.zeros((4, 3), np.float32), np.zeros((4, 4), np.float32))


def test_the_slope_is_the_derivative() -> None:
    logits, labels, anchors = problem(2)
    refiner = fit(logits, labels, anchors, regularization=Regularization(0.01, 0.1))
    moved = refiner.refine(logits + 1, anchors), refiner.refine(logits[:, ::-1] * 0, anchors)
    expected = (logits + 1) @ refiner.slope + (moved[1])
    assert np.allclose(moved[0], expected, atol=1e-3)


def test_few_images_of_two_classes_rarely_turn_answers_round() -> None:
    """Zero-shot prediction is right for two of three images; two shots say otherwise by chance."""
    rng = np.random.default_rng(0)
    labels, new = np.repeat([0, 1], 2), np.repeat([0, 1], 200)
    worse = {"sum": 0, "without the logits": 0}
    for _ in range(40):
        shots, others = (
            (0.45 * (2 * y - 1) + rng.standard_normal(len(y)))[:, None] * [-0.5, 0.5]
            for y in (labels, new)
        )
        shots, others = shots.astype(np.float32), others.astype(np.float32)
        chosen = choose_sum(shots, labels)
        known = (others.argmax(1) == new).mean()
        _, logistic, discriminant = chosen.weights
        for name, weights in (
            ("sum", chosen.weights),
            ("without the logits", (0.0, logistic, discriminant)),
        ):
            refiner = fit(shots, labels, regularization=replace(chosen, weights=weights))
            worse[name] += (refiner.refine(others).argmax(1) == new).mean() < known - 0.15
    assert worse["sum"] < worse["without the logits"]


@pytest.mark.parametrize(("n_classes", "has_weight"), [(9, True), (10, False)])
def test_ten_classes_are_not_few(n_classes: int, has_weight: bool) -> None:
    logits, labels, _ = problem(1, shots=4, n_classes=n_classes)
    assert (choose_sum(logits, labels).weights[0] > 0) == has_weight


def test_two_images_a_class_are_held_out_by_half_of_the_classes() -> None:
    labels = np.repeat(np.arange(5), 2)
    splits = calibration_splits(labels)
    assert splits is not None
    assert (sum(held.astype(int) for _, held in splits) == 1).all()
    for kept, held in splits:
        assert (kept != held).all()
        assert set(np.bincount(labels[kept])) == {1, 2}
    alone = np.append(labels, 5)  # the only image of a class stays in every fold
    assert all(kept[-1] for kept, _ in calibration_splits(alone) or [])
    assert len(calibration_splits(np.array([0, 0, 1, 1])) or []) == 4
    assert calibration_splits(np.arange(4)) is None
    assert len(calibration_splits(np.repeat(np.arange(2), 3)) or []) == 3


def test_refiners_of_two_images_a_class_are_not_far_too_sure() -> None:
    """Discriminants of one image a class, by which the weights are chosen, are much smaller."""
    before, after = [], []
    for seed in range(8):
        logits, labels, anchors = problem(seed, shots=42, n_classes=6, n_anchors=60, noise=4.0)
        train = np.concatenate([np.flatnonzero(labels == label)[:2] for label in range(6)])
        new = np.setdiff1d(np.arange(len(labels)), train)
        few = logits[train], labels[train], anchors[train]
        chosen = choose_sum(*few)
        scaled = chosen.weighted(calibration_scale(*few, chosen))
        both = [
            fit(*few, regularization=each).refine(logits[new], anchors[new])
            for each in (chosen, scaled)
        ]
        np.testing.assert_array_equal(*(each.argmax(axis=1) for each in both))
        for losses, refined in zip((before, after), both, strict=True):
            logs = log_softmax(refined, axis=1)
            losses.append(-float(logs[np.arange(len(new)), labels[new]].mean()))
    assert max(after) < np.log(6) + 0.5
    assert max(before) > 3 * max(after)


@pytest.mark.parametrize("shots", [2, 3, 8])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_few_images_that_are_all_right_do_not_make_a_refiner_certain(
    n_classes: int, shots: int
) -> None:
    labels = np.repeat(np.arange(n_classes), shots)
    logits = 1000 * np.eye(n_classes, dtype=np.float32)[labels]
    unchanged = Regularization(1.0, weights=(1.0, 0.0, 0.0))
    assert 1000 * calibration_scale(logits, labels, None, unchanged) < 50
    assert calibration_scale(logits / 1000, labels, None, unchanged) >= 1


def test_a_refiner_without_held_out_images_stays_as_it_was_chosen() -> None:
    single = problem(0, shots=1)
    assert calibration_scale(*single, choose_sum(*single)) == 1
