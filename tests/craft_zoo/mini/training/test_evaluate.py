"""The evaluation's arithmetic and reading of folders."""

import numpy as np
import torch
from PIL import Image

from craft_zoo.mini.training.evaluate import best_scale, digits, folder, zero_shot


def test_folder_names_are_made_readable(tmp_path):
    for name in ("SeaLake", "water_Lilly"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "1.jpg")
    names, images, labels = folder(tmp_path)
    assert names == ["Sea or Lake", "water lilly"]
    assert [path.parent.name for path in images] == ["SeaLake", "water_Lilly"]
    assert labels == [0, 1]


def test_digits():
    names, images, labels = digits()
    assert len(images) == len(labels) == 1797
    assert (names[labels[0]], images[0].shape, images[0].dtype) == ("zero", (8, 8), np.uint8)
    assert zero_shot(names, images[:3], "a photo of a {}.").shape == (3, 10)


def test_best_scale_is_small_when_answers_are_wrong_and_large_when_right():
    cosines = torch.tensor([[0.5, 0.1], [0.2, 0.6]])
    assert best_scale(cosines, torch.tensor([0, 1])) > 30
    assert best_scale(cosines, torch.tensor([1, 0])) == 1
