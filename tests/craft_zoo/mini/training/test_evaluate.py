"""The evaluation's own arithmetic and reading of folders."""

import torch
from PIL import Image

from craft_zoo.mini.training.evaluate import best_scale, digits, folder


def test_folder_names_are_made_readable(tmp_path):
    for name in ("SeaLake", "water_Lilly"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "1.jpg")
    names, samples = folder(tmp_path)
    assert names == ["Sea or Lake", "water lilly"]
    assert [label for _, label in samples] == [0, 1]


def test_digits():
    names, samples = digits()
    image, label = next(samples)
    assert (names[label], image.size, image.mode) == ("zero", (8, 8), "RGB")


def test_best_scale_is_small_when_answers_are_wrong_and_large_when_right():
    cosines = torch.tensor([[0.5, 0.1], [0.2, 0.6]])
    assert best_scale(cosines, torch.tensor([0, 1])) > 30
    assert best_scale(cosines, torch.tensor([1, 0])) == 1
