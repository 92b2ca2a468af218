"""Mapping of candidates to contexts."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from craft_zoo.prompts import Subspace

P0 = np.random.default_rng(0).standard_normal((4, 16)).astype(np.float32)


def test_the_origin_is_the_initial_context() -> None:
    subspace = Subspace(P0, 10, std=0.3, seed=1)
    assert np.array_equal(subspace.prompts(np.zeros((2, 10))), np.stack([P0, P0]))


@given(z=arrays(np.float64, (3, 10), elements=st.floats(-3, 3)))
def test_contexts_are_affine_in_the_candidate(z: np.ndarray) -> None:
    subspace = Subspace(P0, 10, std=0.3, seed=1)
    moved = subspace.prompts(z) - P0
    assert moved.shape == (3, 4, 16)
    assert np.allclose(subspace.prompts(2 * z) - P0, 2 * moved, atol=1e-4)
    total = subspace.prompts(z.sum(axis=0, keepdims=True))[0] - P0
    assert np.allclose(total, moved.sum(axis=0), atol=1e-4)


def test_a_context_for_each_class_in_the_same_subspace() -> None:
    shared, own = Subspace(P0, 3, std=0.5, seed=1), Subspace(P0, 3, std=0.5, seed=1, n_classes=4)
    z = np.random.default_rng(0).standard_normal((2, 12))
    contexts = own.prompts(z)
    assert contexts.shape == (2, 4, *P0.shape)
    assert np.allclose(contexts[1, 2], shared.prompts(z[1:, 6:9])[0], atol=1e-6)


def test_the_basis_depends_on_the_seed_alone() -> None:
    z = np.ones((1, 10))
    one, same, other = (Subspace(P0, 10, std=0.3, seed=s).prompts(z) for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)


def test_std_is_that_of_the_basis() -> None:
    subspace = Subspace(np.zeros((8, 64), np.float32), 200, std=0.3, seed=1)
    basis = subspace.prompts(np.eye(200))
    assert abs(basis.std() - 0.3) < 0.005
    assert abs(basis.mean()) < 0.005


def test_relative_scale_is_in_units_of_the_initial_context() -> None:
    z = np.random.default_rng(0).standard_normal((50, 200))
    for unit in (0.01, 10.0):
        moved = Subspace.relative(unit * P0, 200, scale=0.5, seed=1).prompts(z) - unit * P0
        rms = unit * np.sqrt(np.mean(P0**2))
        assert abs(moved.std() / rms - 0.5) < 0.05
