"""LFA: its first map, its loss and two steps computed by hand, and its crops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from craft_zoo.data import Dataset, Task, few_shot
from craft_zoo.errors import CraftZooError
from craft_zoo.methods import Problem, get_method, read_settings
from craft_zoo.methods.lfa import (
    Aligned,
    _crops,
    choose_beta,
    procrustes,
    refine,
    reranking_loss,
    scores,
)
from craft_zoo.metrics import accuracy
from craft_zoo.openclip import OpenCLIP

UNIT = np.eye(2)


def test_the_first_map_by_hand() -> None:
    turned = np.array([[0.0, 1], [-1, 0]])  # the targets of the unit vectors
    np.testing.assert_allclose(procrustes(UNIT, turned, 0), turned, atol=1e-12)
    # half of it and half of the identity
    np.testing.assert_allclose(procrustes(UNIT, turned, 0.5), [[0.5, 0.5], [-0.5, 0.5]])
    # of targets of any length, an orthogonal one
    np.testing.assert_allclose(procrustes(UNIT, np.diag([2.0, -5]), 0), np.diag([1, -1]))


def test_a_share_of_the_identity_is_the_first_of_the_best() -> None:
    texts, labels = UNIT, np.array([0, 1] * 10)
    turned = texts[1 - labels]  # each image is where the other class's prompt is
    # The exchange of both must outweigh the identity: a share below one half.
    assert choose_beta(turned, texts, labels, np.random.default_rng(0)) == 0
    assert choose_beta(texts[labels], texts, labels, np.random.default_rng(0)) == 0


def test_scores_by_hand() -> None:
    # (3, 4) becomes (4, 3), of length 5
    found = scores(np.array([[3.0, 4]]), UNIT[::-1], UNIT)
    np.testing.assert_allclose(found, [[0.8 / 0.07, 0.6 / 0.07]], rtol=1e-6)


def test_the_loss_by_hand() -> None:
    # The image (0.6, 0.8) is at √0.8 = 0.894427 from the prompt of its class and at √0.4 = 0.632456
    # from the other, whose margin is (1 - 0) / 4: (0.894427 + 0.25 - 0.632456 + 0) / 2.
    texts = torch.tensor([[1.0, 0], [0, 2]])
    loss = reranking_loss(torch.tensor([[3.0, 4]]), texts, torch.tensor([0]))
    assert float(loss) == pytest.approx(0.255986, abs=1e-6)
    # On the other side: 0.632456 + 0.25 - 0.894427 is below 0.
    assert float(reranking_loss(torch.tensor([[3.0, 4]]), texts, torch.tensor([1]))) == 0
    # Of four prompts, the nearest three count, and the fourth does not.
    four = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    loss = reranking_loss(torch.tensor([[1.0, 0]]), four, torch.tensor([0]))
    assert float(loss) == 0


class Quiet:
    """Takes the first crop and all images, and adds neither noise nor zeros."""

    def integers(self, count: int) -> int:
        return 0

    def uniform(self) -> float:
        return 0.4


def test_two_steps_by_hand() -> None:
    crops = np.array([[[0.6, 0.8], [9, 9]]])
    given: dict[str, Any] = {"lr": 0.1, "rng": Quiet(), "torch_seed": 0}
    labels = np.array([0])
    # Half the slope of the distances turns the vector towards the first prompt: the gradient is
    # (0.6, 0.8) times (-0.737244, 0.552933). AdamW shrinks the identity by 0.1 * 0.0005 and moves
    # each number by 0.1.
    found = refine(UNIT, crops, UNIT, labels, steps=1, **given)
    np.testing.assert_allclose(found, [[1.09995, -0.1], [0.1, 0.89995]], atol=1e-5)
    # The vector is (0.73997, 0.65996), the gradient (0.6, 0.8) times (-0.619951, 0.695110), and
    # the rate half as high.
    found = refine(UNIT, crops, UNIT, labels, steps=2, **given)
    expected = [[1.149512, -0.149971], [0.149587, 0.849954]]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(refine(UNIT, crops, UNIT, labels, steps=0, **given), UNIT)


def test_crops_are_the_corners_and_the_centre(vlm: OpenCLIP) -> None:
    rng = np.random.default_rng(0)
    wide = Image.fromarray(rng.integers(0, 255, (224, 448, 3), dtype=np.uint8))
    square = wide.crop((0, 0, 224, 224))
    found = _crops(vlm, [wide, square])
    assert found.shape[:2] == (2, 5)
    parts = [(0, 0, 224, 224), (224, 0, 448, 224), (112, 0, 336, 224)]
    alone = vlm.features(vlm.images([wide.crop(part) for part in parts], keep=False))
    for place, part in zip((0, 1, 2, 3, 4), (0, 1, 0, 1, 2), strict=True):
        np.testing.assert_allclose(found[0, place], alone[part], atol=1e-5)
        np.testing.assert_allclose(found[1, place], alone[0], atol=1e-5)


def problem_of(vlm: OpenCLIP, task: Task, **settings: Any) -> Problem:
    config = read_settings({f"lfa-local.{name}": value for name, value in settings.items()})
    return Problem.open(vlm, task.classnames, task.train, budget=10, seed=1, config=config)


def test_it_is_above_zero_shot(vlm: OpenCLIP, digits: Dataset, small_task: Task) -> None:
    task = few_shot(digits, shots=4, seed=1)
    problem = problem_of(vlm, task, crops=False, beta=0.5)
    [step] = get_method("lfa-local")(problem)
    assert isinstance(step.solution, Aligned)
    assert not step.solution.deployable
    assert problem.meter.queries == 0
    test = vlm.images(small_task.test.images)
    found = accuracy(step.solution.logits(problem.box, test), small_task.test.labels)
    zero = accuracy(problem.box.score(problem.initial_prompt, test), small_task.test.labels)
    assert found > zero + 0.2
    assert step.train_accuracy > 0.5
    with pytest.raises(CraftZooError, match=r"sells no vectors: .* lfa-local"):
        get_method("lfa")(problem)
