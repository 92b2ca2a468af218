"""BAR: its frame, its loss, its rate and two steps computed by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from craft_zoo.blackbox import VLM, BlackBox, ImageSet
from craft_zoo.blackbox.base import Progress
from craft_zoo.data import LabelledImages, Task
from craft_zoo.data.images import ImageSource, open_image
from craft_zoo.methods import Problem, bar, get_method, read_settings
from craft_zoo.methods.bar import Framed, Program, focal_loss, learning_rate, one_sided
from craft_zoo.openclip import OpenCLIP


def test_a_frame_by_hand() -> None:
    image = np.full((6, 8, 3), (10, 20, 30), np.uint8)
    parameters = np.zeros((3, 4, 4))
    parameters[0, 0, 0] = math.log(3)  # 255 · 0.75 = 191.25
    parameters[1, 1, 1] = 100  # behind the image
    [framed] = Program(4, 2)([image], parameters.reshape(-1))
    grey, inside = [128, 128, 128], [10, 20, 30]
    rows = [[grey] * 4, [grey, inside, inside, grey], [grey, inside, inside, grey], [grey] * 4]
    rows[0] = [[191, 128, 128], *[grey] * 3]
    # Not rounded for a model on this machine: 0.75, 0.5, 10 / 255, …
    assert framed.colours[0, 0].tolist() == [0.75, 0.5, 0.5]
    np.testing.assert_array_equal(np.asarray(framed.open()), rows)


def test_the_loss_by_hand() -> None:
    logits = np.array([[0, math.log(3)], [0, 0]], np.float32)
    # probabilities of 0.75 and 0.5: 0.0625 · 0.287682 and 0.25 · 0.693147
    labels = np.array([1, 0])
    assert focal_loss(logits, labels, 2) == pytest.approx((0.0179801 + 0.1732868) / 2, rel=1e-5)
    assert focal_loss(logits, labels, 0) == pytest.approx((0.287682 + 0.693147) / 2, rel=1e-5)


def test_rates_by_hand() -> None:
    # The decay takes 9 of 10 steps: 9.9 · (1 - 1 / 9)^0.9 + 0.1 after the first.
    assert learning_rate(1, 10, 10, 0.1) == pytest.approx(9.0042, rel=1e-4)
    assert [learning_rate(step, 10, 10, 0.1) for step in (9, 10)] == [0.1, 0.1]


class Scripted:
    """Draws zeros, and then the first axis, three times as long."""

    def __init__(self) -> None:
        self.drawn = 0

    def standard_normal(self, size: int) -> np.ndarray:
        self.drawn += 1
        return np.zeros(size) if self.drawn == 1 else 3 * np.eye(size)[0]


def test_a_gradient_by_hand() -> None:
    rng = Scripted()
    rng.drawn = 1
    # d = 2, and (1.5² - 1) / 0.5 = 2.5, from both directions
    found = one_sided(lambda w: w[0] ** 2, np.array([1.0, 7]), 1.0, 2, 0.5, rng)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, [5, 0])


class Box(BlackBox):
    """Class a's logit is ln 3 where the first pixel's red is 191, and 0 where it is 128."""

    accepts = frozenset({"texts"})
    initial_context = np.zeros((0, 0), np.float32)
    classnames = ("a", "b")

    def logits(self, prompts: Any, images: ImageSet) -> Iterator[np.ndarray]:
        for _ in prompts:
            reds = np.array([np.asarray(open_image(each))[0, 0, 0] for each in images.sources], int)
            yield np.stack([(reds - 128) / 63 * math.log(3), 0 * reds], axis=1).astype(np.float32)


class ByHand(VLM):
    name, image_size = "by hand", 2

    def images(
        self, images: Sequence[ImageSource], progress: Progress | None = None, *, keep: bool = True
    ) -> ImageSet:
        return ImageSet(images, self)

    def classifier(self, classnames: Sequence[str], init: str = "") -> BlackBox:
        return Box()


def test_two_steps_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"bar": Scripted()}
    original = bar.generator
    monkeypatch.setattr(
        bar, "generator", lambda seed, purpose: made.get(purpose) or original(seed, purpose)
    )
    settings = {"inner": 1, "directions": 1, "distance": math.log(3), "gamma": 0}
    settings |= {"lr": 0.5, "last_lr": 0.1}
    config = read_settings({f"bar.{name}": value for name, value in settings.items()})
    shots = LabelledImages(list(np.zeros((1, 5, 5, 3), np.uint8)), np.array([0]))
    problem = Problem.open(ByHand(), ("a", "b"), shots, budget=4, seed=1, config=config)
    first, *_, end = get_method("bar")(problem)
    assert isinstance(first.solution, Framed)
    assert isinstance(end.solution, Framed)
    assert not first.solution.parameters.any()
    # Step 1: losses of 0.693147 and 0.287682 at reds of 128 and 191; a slope of -0.369070, times
    # d = 12: -4.428841. The rate is 0.4 · (1 - 1 / 1.8)^0.9 + 0.1 = 0.292795: 1.296742.
    # Step 2: reds of 200 and 234, losses of 0.250694 and 0.146245; -0.095074 · 12 = -1.140888, at
    # a rate of 0.1.
    expected = np.zeros(12)
    expected[0] = 1.410831
    np.testing.assert_allclose(end.solution.parameters, expected, atol=2e-5)
    assert end.queries == 4


def problem_of(vlm: OpenCLIP, task: Task, budget: int, **settings: Any) -> Problem:
    config = read_settings({f"bar.{name}": value for name, value in settings.items()})
    return Problem.open(vlm, task.classnames, task.train, budget=budget, seed=1, config=config)


def test_a_query_is_one_program_on_one_batch(tiny_vlm: OpenCLIP, small_task: Task) -> None:
    problem = problem_of(tiny_vlm, small_task, 20, batch=8)
    first, *steps = get_method("bar")(problem)
    assert [step.queries for step in steps] == [6, 12, 18]  # whole steps
    assert problem.meter.predictions == {"search": 18 * 8}
    solution = steps[-1].solution
    assert isinstance(solution, Framed)
    assert not solution.deployable
    assert solution.program.inner == 2 * round(tiny_vlm.image_size * 64 / 224 / 2)
    found = solution.logits(problem.box, problem.images)
    assert found.shape == (20, 10)
    assert not np.array_equal(found, first.solution.logits(problem.box, problem.images))
