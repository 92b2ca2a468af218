"""Visual prompts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from craft_zoo.data import Task
from craft_zoo.errors import CraftZooError
from craft_zoo.prompts.visual import Coordinator, square_pixels


def pixels_of(count: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, 3, size, size), dtype=np.uint8))


def test_the_middle_square_is_taken() -> None:
    image = np.zeros((20, 60, 3), dtype=np.uint8)
    image[:, 20:40] = 200
    (row,) = square_pixels([image], 16)
    assert row.shape == (3, 16, 16)
    assert (row[:, :, 2:-2] == 200).all()


def test_a_square_of_the_right_size_stays_as_it_is(small_task: Task) -> None:
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    (row,) = square_pixels([Image.fromarray(image)], 32)
    np.testing.assert_array_equal(row.permute(1, 2, 0).numpy(), image)


def test_a_missing_image_is_named() -> None:
    with pytest.raises(CraftZooError, match="nowhere"):
        square_pixels(["nowhere.png"], 16)


@given(count=st.integers(1, 40), size=st.integers(16, 40))
def test_without_parameters_images_stay_as_they_are(count: int, size: int) -> None:
    pixels = pixels_of(count, size)
    coordinator = Coordinator.of(pixels)
    prompted = coordinator(pixels, np.zeros(coordinator.n_parameters))
    np.testing.assert_array_equal(prompted, pixels.permute(0, 2, 3, 1).numpy())


def test_each_image_gets_a_prompt_of_its_own_whatever_its_company() -> None:
    pixels = pixels_of(12)
    coordinator = Coordinator.of(pixels)
    parameters = np.random.default_rng(2).standard_normal(coordinator.n_parameters)
    together = coordinator(pixels, parameters)
    alone = np.concatenate([coordinator(row[None], parameters) for row in pixels])
    assert together.dtype == np.uint8
    assert np.abs(together.astype(int) - alone.astype(int)).max() <= 1  # rounding
    moved = together.astype(int) - pixels.permute(0, 2, 3, 1).numpy()
    assert not np.array_equal(moved[0], moved[1])
    assert np.abs(moved).max() <= 128  # half of black to white


def test_equal_images_have_no_components() -> None:
    pixels = torch.full((4, 3, 16, 16), 90, dtype=torch.uint8)
    coordinator = Coordinator.of(pixels)
    assert coordinator.n_parameters == 3 * 8 * 8  # what is added to all
    prompted = coordinator(pixels, np.ones(coordinator.n_parameters))
    assert (prompted == prompted[0, 0, 0, 0]).all()
    assert prompted[0, 0, 0, 0] > 90
